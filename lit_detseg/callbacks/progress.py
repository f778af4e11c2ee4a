"""How far the training is: a bar on a terminal, a line now and then in a log file."""

import math
import sys
import time
from datetime import timedelta
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.trainer.states import TrainerFn

REFRESHES_PER_SECOND = 4


class RunProgress(RichProgressBar):
    """Show epoch, step, loss, images per second and the time left.

    On a terminal, Rich's bars. Elsewhere, as under SLURM, where the output is a file: one line at
    the start, one every `seconds`, and one with the scores of each validation.

    Args:
        seconds: time between two lines.
        loss: the logged loss to show.
        lines: lines even on a terminal, or bars even elsewhere; None decides by standard output.
    """

    def __init__(
        self, seconds: float = 30.0, loss: str = "train/loss", lines: bool | None = None
    ) -> None:
        super().__init__(refresh_rate=REFRESHES_PER_SECOND, leave=True)
        self.seconds = seconds
        self.loss = loss
        self.lines = not sys.stdout.isatty() if lines is None else lines
        self._speaks = False
        self._shown: dict[str, Any] = {}
        self._spoke = self._window_start = self._run_start = -math.inf
        self._window_images = 0
        self._first_step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Choose between bars and lines; only rank zero shows anything."""
        super().setup(trainer, pl_module, stage)
        self._speaks = self.lines and trainer.is_global_zero
        if self.lines:
            self.disable()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock of the time left."""
        super().on_train_start(trainer, pl_module)
        self._run_start, self._first_step = time.monotonic(), trainer.global_step
        self._restart_window()

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance the bar, or print a line when it is time."""
        self._window_images += len(getattr(batch, "targets", batch)) * trainer.world_size
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._is_time():
            shown = [f"{name} {value}" for name, value in self._status(trainer).items()]
            self._say("  ".join([*self._position(trainer), *shown]))

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Advance the bar, or print a line when it is time."""
        super().on_validation_batch_end(
            trainer, pl_module, outputs, batch, batch_idx, dataloader_idx
        )
        if self._is_time() and not trainer.sanity_checking:
            total = trainer.num_val_batches[dataloader_idx]
            self._say(f"validation  batch {batch_idx + 1}/{total}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the overall scores, those of single classes left out."""
        super().on_validation_end(trainer, pl_module)
        self._restart_window()
        if trainer.sanity_checking or not self._speaks or trainer.state.fn != TrainerFn.FITTING:
            return  # outside of training Lightning prints a table
        names = getattr(getattr(pl_module, "label_map", None), "names", ())
        of_classes = {f"val/map_{name}" for name in names}
        scores = [
            f"{name} {float(value):.4f}"
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val/") and name not in of_classes
        ]
        if scores:
            self._say("  ".join([f"validation at step {trainer.global_step}", *scores]))

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """What stands right of the bar. Renewed once a second: a look at the loss waits for it."""
        if time.monotonic() - self._spoke >= 1.0 and self._window_images:
            self._shown = self._status(trainer)
        return self._shown

    def _get_train_description(self, current_epoch: int) -> str:
        """Left of the bar; epochs are counted from 1, as in the lines."""
        epochs = self.trainer.max_epochs
        total = f"/{epochs}" if epochs is not None and epochs > 0 else ""
        text = f"Epoch {current_epoch + 1}{total}"
        return text.ljust(len(self.validation_description))  # as long as the bar's below

    def _status(self, trainer: Trainer) -> dict[str, str]:
        now = time.monotonic()
        rate = self._window_images / max(now - self._window_start, 1e-9)
        self._spoke = now
        self._restart_window()
        status = {"images/s": f"{rate:.1f}"}
        if (loss := trainer.callback_metrics.get(self.loss)) is not None:
            status = {self.loss: f"{float(loss):.4f}", **status}
        steps_done = trainer.global_step - self._first_step
        steps_left = trainer.estimated_stepping_batches - trainer.global_step
        if steps_done and math.isfinite(steps_left):
            left = (now - self._run_start) / steps_done * steps_left
            status["left"] = str(timedelta(seconds=round(max(left, 0))))
        return status

    def _position(self, trainer: Trainer) -> list[str]:
        epochs, steps = trainer.max_epochs, trainer.estimated_stepping_batches
        epoch_total = f"/{epochs}" if epochs is not None and epochs > 0 else ""
        step_total = f"/{steps:.0f}" if math.isfinite(steps) else ""
        return [
            f"epoch {trainer.current_epoch + 1}{epoch_total}",
            f"step {trainer.global_step}{step_total}",
        ]

    def _is_time(self) -> bool:
        return self._speaks and time.monotonic() - self._spoke >= self.seconds

    def _say(self, line: str) -> None:
        self._spoke = time.monotonic()
        print(line, flush=True)

    def _restart_window(self) -> None:
        self._window_start, self._window_images = time.monotonic(), 0
