"""A module, data and trainers of milliseconds, real ones, for the tests of callbacks and runs."""

from collections.abc import Iterator
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lit_detseg.callbacks.checkpoint import RunCheckpoint
from lit_detseg.runs.checkpoints import AtomicCheckpointIO
from lit_detseg.structures import BoxTarget, DetectionBatch, Detections, Images, LabelMap

IMAGES = 2  # per batch
HEIGHT, WIDTH = 12, 16


def batch_of(number: int) -> DetectionBatch:
    """The batch at a position: its pixels are its number."""
    pixels = torch.full((IMAGES, 3, HEIGHT, WIDTH + 4), number, dtype=torch.uint8)
    sizes = torch.tensor([[HEIGHT, WIDTH]] * IMAGES)
    box = torch.tensor([[1.0, 2.0, 9.0, 8.0]])
    no = torch.tensor([False])
    targets = [
        BoxTarget(
            box,
            torch.tensor([1]),
            f"{number}-{k}",
            (HEIGHT, WIDTH),
            no,
            no,
            box.double(),
            no * 48.0,
        )
        for k in range(IMAGES)
    ]
    return DetectionBatch(Images(pixels, sizes), targets)


class Positions:
    """Batches in arithmetic order, that go on where the trainer is."""

    def __init__(self, module: LightningModule, batches: int) -> None:
        self.module, self.batches = module, batches

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[DetectionBatch]:
        trainer = self.module.trainer
        done = trainer.global_step * trainer.accumulate_grad_batches % self.batches
        yield from map(batch_of, range(done, self.batches))

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class TinyModule(LightningModule):
    """Two weights and momentum, so that a repeated or lost step shows."""

    def __init__(self, batches: int = 4, scores: list[float] | None = None) -> None:
        super().__init__()
        self.batches = batches
        self.scores = scores
        self.weights = nn.Parameter(torch.tensor([0.5, -0.25]))
        self.label_map = LabelMap(("circle", "square"))
        self.broken_from: int | None = None

    def training_step(self, batch: DetectionBatch, batch_index: int) -> Tensor:
        inputs = torch.stack([batch.images.pixels.float().mean() / 4, torch.tensor(1.0)])
        loss = (self.weights * inputs).sum().square()
        if self.broken_from is not None and self.global_step >= self.broken_from:
            loss = loss * float("nan")
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: DetectionBatch, batch_index: int) -> list[Detections]:
        boxes = torch.tensor([[1.0, 2.0, 9.0, 8.0], [0.0, 0.0, 4.0, 4.0]])
        found = Detections(boxes, torch.tensor([1, 0]), torch.tensor([0.9, 0.1]))
        return [found] * len(batch.targets)

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:
            self.log("val/map", 100.0)
        elif self.scores is None:
            self.log("val/map", float(self.global_step))
        elif self.scores:
            self.log("val/map", self.scores.pop(0))

    def train_dataloader(self) -> Positions:
        return Positions(self, self.batches)

    def val_dataloader(self) -> DataLoader:
        return DataLoader([batch_of(0), batch_of(1)], batch_size=None)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 8], gamma=0.5)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Diary(Callback):
    """Note what begins; raise `StoppedError` when event number `stop` would begin."""

    def __init__(self, stop: int | None = None) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.stop = stop

    def on_train_batch_start(self, trainer, module, batch, batch_index):
        number = int(batch.images.pixels[0, 0, 0, 0])
        self._note(trainer, "train", batch_index, number)

    def on_validation_start(self, trainer, module):
        if not trainer.sanity_checking:
            self._note(trainer, "validate")

    def _note(self, trainer: Trainer, *event: Any) -> None:
        if len(self.events) == self.stop:
            raise StoppedError
        logged_step = trainer.fit_loop.epoch_loop._batches_that_stepped
        self.events.append((*event, trainer.current_epoch, trainer.global_step, logged_step))


class StoppedError(Exception):
    """The end of an attempt."""


def tiny_trainer(directory, *callbacks, **options: Any) -> Trainer:
    """A trainer of the run `directory`; a `RunCheckpoint` unless one is given."""
    if not any(isinstance(callback, RunCheckpoint) for callback in callbacks):
        callbacks = (*callbacks, RunCheckpoint(directory, every_n_steps=1))
    defaults = {"max_epochs": 2, "logger": False, "num_sanity_val_steps": 0}
    return Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=directory,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=any("Progress" in type(c).__name__ for c in callbacks),
        enable_model_summary=False,
        **{**defaults, **options},
    )
