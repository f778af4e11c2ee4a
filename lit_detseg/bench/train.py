"""What Lightning costs: a bare training loop against the Trainer, same model, same loader.

Both run in one process, in turns, because machines are shared and drift: the ratio of the two is
the result, not the seconds.
"""

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lit_detseg.callbacks.throughput import Throughput
from lit_detseg.data import ShapesDataModule
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.errors import UserError
from lit_detseg.models.proposals import AnchorSettings, ProposalSettings
from lit_detseg.models.roi_stage import RoISettings
from lit_detseg.modules import FasterRCNN
from lit_detseg.runs.metrics_log import MetricsLog
from lit_detseg.structures import DetectionBatch

WARM_UP_STEPS = 5  # allocation and first-call costs of both


@dataclass(frozen=True)
class Overhead:
    """Milliseconds per training step, medians over all rounds."""

    bare_loop: float
    trainer: float

    @property
    def ratio(self) -> float:
        """How many times longer a step takes under the Trainer, all logging included."""
        return self.trainer / self.bare_loop

    def to_json(self) -> dict[str, float]:
        """For programs."""
        return {**asdict(self), "ratio": self.ratio}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `lit-detseg bench train`."""
    parser.add_argument("--steps", type=int, default=30, help="measured steps of each turn")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each of the two")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


def run(options: argparse.Namespace) -> None:
    """Measure `bench train` and print.

    Raises:
        UserError: when the options make no measurement.
    """
    if options.steps < 1 or options.rounds < 1:
        raise UserError(
            f"--steps {options.steps} --rounds {options.rounds}: give at least 1 of each."
        )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        pack(ShapesReader(images=200, seed=0), Path(folder) / "shards")
        result = measure_trainer_overhead(
            Path(folder) / "shards", Path(folder), options.steps, options.rounds
        )
    if options.json:
        print(json.dumps(result.to_json()))
        return
    table = Table(title="Faster R-CNN, one training step")
    table.add_column("loop")
    table.add_column("ms per step", justify="right")
    table.add_column("ratio", justify="right")
    table.add_row("bare", f"{result.bare_loop:.1f}", "1")
    table.add_row("Lightning Trainer, logging", f"{result.trainer:.1f}", f"{result.ratio:.3f}")
    Console().print(table)


def measure_trainer_overhead(
    shards: Path, folder: Path, steps: int = 30, rounds: int = 3
) -> Overhead:
    """Train a small Faster R-CNN both ways, in turns.

    Args:
        shards: a shapes shard set.
        folder: where the Trainer's metrics log goes.
        steps: measured steps of each turn.
        rounds: turns of each.
    """
    bare, under_trainer = [], []
    for turn in track(range(rounds), "bare loop and Trainer, in turns", transient=True):
        bare += _bare_loop(_module(), _data(shards), steps + WARM_UP_STEPS)[WARM_UP_STEPS:]
        log = MetricsLog(folder / f"metrics_{turn}.jsonl")
        timed = _under_trainer(_module(), _data(shards), steps + WARM_UP_STEPS, log)
        under_trainer += timed[WARM_UP_STEPS:]
    return Overhead(1000 * statistics.median(bare), 1000 * statistics.median(under_trainer))


def _bare_loop(module: FasterRCNN, data: ShapesDataModule, steps: int) -> list[float]:
    """Seconds of each step of a loop that knows nothing but the model and the loader."""
    optimizer = module.optimizer(module.parameters())
    seconds, start = [], time.perf_counter()
    for batch in _endless(data.train_dataloader, data.on_after_batch_transfer, steps):
        losses = module.model(batch.images, batch.targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        now = time.perf_counter()
        seconds.append(now - start)
        start = now
    return seconds


def _endless(
    make_loader: Callable[[], Any], unpack: Callable[[Any, int], DetectionBatch], steps: int
) -> Iterator[DetectionBatch]:
    loader = make_loader()
    while True:
        for batch in loader:
            yield unpack(batch, 0)
            steps -= 1
            if not steps:
                return


def _under_trainer(
    module: FasterRCNN, data: ShapesDataModule, steps: int, log: MetricsLog
) -> list[float]:
    """Seconds of each step of `Trainer.fit`, from the end of one to the end of the next."""
    clock = _StepClock()
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=log,
        log_every_n_steps=10,
        callbacks=[Throughput(), clock],
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return clock.seconds


class _StepClock(Callback):
    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._start = 0.0

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_index: int
    ) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._start)
        self._start = now


def _data(shards: Path) -> ShapesDataModule:
    return ShapesDataModule(train=str(shards), total_batch_size=8, num_workers=1)


def _module() -> FasterRCNN:
    torch.manual_seed(0)
    return FasterRCNN(
        num_classes=3,
        backbone="tiny_fpn",
        anchors=AnchorSettings(sizes=((16.0,), (32.0,), (64.0,), (96.0,))),
        proposals=ProposalSettings(400, 200, 400, 100, min_side=0.0),
        rois=RoISettings(pooling="roi_align", num_samples=64),
        rpn_channels=64,
        head_width=256,
    )
