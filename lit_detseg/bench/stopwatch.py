"""How long a model looks at an image, while `lit-detseg test` evaluates it."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer

WARM_UP_BATCHES = 1  # allocation and first calls


class Stopwatch(Callback):
    """Write seconds per image of the test steps to a file.

    A step is the model, the way back to the original image and the matching of what was found;
    reading and resizing the image is not in it, nor are proposals that the data bring.

    Args:
        path: of the JSON file, {"images": ..., "seconds_per_image": ...}.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._images = 0
        self._seconds = 0.0
        self._start = 0.0

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Start the watch."""
        self._start = _now(pl_module.device)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop it."""
        if batch_idx >= WARM_UP_BATCHES:
            self._seconds += _now(pl_module.device) - self._start
            self._images += len(batch.targets)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what was measured."""
        seconds = self._seconds / self._images if self._images else None
        self.path.write_text(json.dumps({"images": self._images, "seconds_per_image": seconds}))


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
