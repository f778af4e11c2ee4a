"""A model that learns nothing and writes down what a real Trainer shows it."""

import pytest
import torch
from lightning import LightningModule, Trainer

from lit_detseg.data import ShapesDataModule
from lit_detseg.data.order import TrainingOrder
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import DetectionBatch

IMAGES, BATCH = 21, 4
STEPS = IMAGES // BATCH  # 5 an epoch

WORKERS = [
    pytest.param({}, id="no workers"),
    pytest.param({"num_workers": 2}, id="workers"),
    pytest.param({"num_workers": 2, "persistent_workers": True}, id="persistent workers"),
]


class Diary(LightningModule):
    """Learns nothing and writes down what it was shown."""

    def __init__(self, save_at=(), path=None, save_hook="on_train_batch_end"):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[str]] = []
        self.evaluated: list[str] = []
        self.epochs_began_at: list[int] = []
        self.save_at, self.path, self.save_hook = save_at, path, save_hook

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_index):
        assert isinstance(batch, DetectionBatch)
        assert batch.images.seeds is not None
        self.trained.append([target.image_id for target in batch.targets])
        return self.weight * 0

    def validation_step(self, batch, batch_index):
        self.evaluated += [target.image_id for target in batch.targets]

    test_step = predict_step = validation_step

    def _save(self, hook):
        if hook == self.save_hook and len(self.trained) in self.save_at:
            self.trainer.save_checkpoint(self.path)

    def on_train_epoch_start(self):
        self.epochs_began_at.append(len(self.trained))

    def on_train_batch_end(self, *_):
        self._save("on_train_batch_end")

    def on_train_epoch_end(self):
        self._save("on_train_epoch_end")

    def on_validation_end(self):
        self._save("on_validation_end")


def data(folder, **options):
    return ShapesDataModule(
        **{"train": folder, "total_batch_size": BATCH, "num_workers": 0, **options}
    )


def fit(module, data_module, ckpt_path=None, **options):
    trainer = Trainer(
        **{
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "num_sanity_val_steps": 0,
            "max_epochs": 3,
            **options,
        }
    )
    trainer.fit(module, datamodule=data_module, ckpt_path=ckpt_path)
    return module


def expected(folder, steps, batch=BATCH, **options):
    """The keys of each step, from the arithmetic alone."""
    reader = ShardReader([folder])
    order = TrainingOrder(reader.shard_lengths, batch, **options)
    return [reader.keys[order.slots(step).samples].tolist() for step in steps]
