"""How fast the images go through, and what the learning rate is."""

import time
from typing import Any

from lightning import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Log speed, share of waiting and learning rate every `log_every_n_steps` optimiser steps.

    - `train/images_per_second`: images of all ranks per second, of the batches since the last log.
    - `train/data_wait_fraction`: share of that time between two batches, in which the loop waits
      for data and moves it to the device. Below 0.05, faster data would not help.
    - `train/learning_rate`: of the optimizer's first parameter group, as used in this step.

    Validation and the writing of checkpoints are not counted. Nothing here makes the CPU wait for
    the GPU: over a window, the GPU's queue keeps the two in step.

    Attributes:
        images_per_second: the last value logged, for progress bars; None before.
    """

    def __init__(self) -> None:
        self.images_per_second: float | None = None
        self._learning_rate = 0.0
        self._seen_step = 0
        self._started = 0.0
        self._ended: float | None = None  # of the batch before; None when something came between
        self._start_window()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start counting from where the run continues."""
        self._seen_step = trainer.global_step
        self._start_window()
        self._ended = None

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int
    ) -> None:
        """End the wait for data."""
        self._started = time.perf_counter()
        if self._ended is not None:
            self._waiting += self._started - self._ended
        if trainer.optimizers:
            self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        """Count the batch, and log when it is time."""
        self._ended = time.perf_counter()
        self._working += self._ended - self._started
        self._images += _batch_length(batch) * trainer.world_size
        step = trainer.global_step
        stepped, self._seen_step = step > self._seen_step, step
        every = getattr(trainer, "log_every_n_steps", 0)
        if stepped and every and step % every == 0:
            self._log(trainer)
            self._start_window()

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """What follows is not a wait for data."""
        self._ended = None

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """What follows is not a wait for data."""
        self._ended = None

    def _start_window(self) -> None:
        self._images = 0
        self._working = 0.0  # seconds inside training steps
        self._waiting = 0.0  # seconds between them

    def _log(self, trainer: Trainer) -> None:
        seconds = self._working + self._waiting
        self.images_per_second = self._images / seconds
        values = {
            "train/images_per_second": self.images_per_second,
            "train/data_wait_fraction": self._waiting / seconds,
            "train/learning_rate": self._learning_rate,
        }
        # Past `LightningModule.log`, which would copy every number to the GPU and back.
        for logger in trainer.loggers:
            logger.log_metrics(
                values, step=trainer.global_step - 1
            )  # Lightning's step: those before


def _batch_length(batch: Any) -> int:
    return len(getattr(batch, "targets", batch))
