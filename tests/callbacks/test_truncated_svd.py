"""Thinner layers in evaluation, the full ones in training and in checkpoints."""

import torch
from lightning import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader

from lit_detseg.callbacks.truncated_svd import TruncatedSVD


class Watched(LightningModule):
    """Notes how many layers it has whenever it is asked to do something."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.seen = []

    def training_step(self, batch, batch_index):
        self.seen.append(("train", type(self.layers[0]).__name__))
        return self.layers(batch).sum()

    def validation_step(self, batch, batch_index):
        self.seen.append(("val", type(self.layers[0]).__name__))

    test_step = predict_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_only_evaluation_sees_the_thin_layers(tmp_path):
    module, loader = Watched(), DataLoader(torch.ones(2, 4), batch_size=1)
    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        callbacks=[TruncatedSVD(ranks=(2,), layers="layers")],
    )
    trainer.fit(module, loader, loader)
    trainer.test(module, loader, verbose=False)
    trainer.predict(module, loader, return_predictions=False)

    assert set(module.seen) == {("train", "Linear"), ("val", "Sequential")}
    assert list(dict(module.layers.named_parameters())) == ["0.weight", "0.bias"]
