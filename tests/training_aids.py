"""Callbacks that a test names in a configuration: note every step, die at a chosen one."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer


class StepRecorder(Callback):
    """Append one line per training step: optimiser step, image ids, exact losses."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        losses = {
            name: float(value).hex()
            for name, value in trainer.callback_metrics.items()
            if name.startswith("train/")
        }
        ids = [target.image_id for target in batch.targets]
        line = {"step": trainer.global_step, "ids": ids, "losses": losses}
        path = self.path.with_suffix(f".{trainer.global_rank}.jsonl")
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class KillAfterStep(Callback):
    """End this process as a power cut would, after every callback has seen the step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int
    ) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


class HoldAtStep(Callback):
    """Wait at a chosen step for whoever started this process to end it; a file says when."""

    def __init__(self, step: int, sign: str) -> None:
        self.step = step
        self.sign = Path(sign)

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int
    ) -> None:
        if trainer.global_step == self.step:
            self.sign.write_text(str(os.getpid()))
            time.sleep(120)
