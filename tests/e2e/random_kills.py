"""Train, `kill -9` at random moments, continue, and compare every step that was ever taken.

    python -m tests.e2e.random_kills --kills 100 --seed 1

does it as often as one likes; `test_random_kills.py` a few times.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from tests.e2e.commands import run_command

BATCH = 4
RECORDER = "tests.training_aids.StepRecorder"
HERE = "tests.e2e.random_kills"


class KillSoon(Callback):
    """After some batches of this attempt and a moment, end the process as a power cut would.

    Args:
        batches: how many are trained before.
        seconds: how long after the start of the next one: within the step, the next ones, or while
            a checkpoint is written.
    """

    def __init__(self, batches: int, seconds: float) -> None:
        self.batches = batches
        self.seconds = seconds

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int
    ) -> None:
        if self.batches == 0:
            threading.Thread(target=self._kill, daemon=True).start()
        self.batches -= 1

    def _kill(self) -> None:
        time.sleep(self.seconds)
        os.kill(os.getpid(), signal.SIGKILL)


class KillAWorker(Callback):
    """Kill one of the loader's worker processes at an optimiser step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: Any, batch_index: int
    ) -> None:
        if trainer.global_step == self.step:
            workers = [child.pid for child in multiprocessing.active_children()]
            os.kill(min(filter(None, workers)), signal.SIGKILL)


def attempt(shards: Path, run: Path, steps: int, *more: str) -> tuple[Any, list[dict[str, Any]]]:
    """Start or continue a run of a tiny detector; how it ended and a line for each step taken."""
    notes = run.parent / f"{run.name}_{time.monotonic_ns()}.notes"
    result = run_command(
        "fit",
        "--model=lit_detseg.modules.DetectionModule",
        "--model.model=tests.toy_detector.ToyDetector",
        "--model.metric=lit_detseg.metrics.coco_ap.CocoAveragePrecision",
        "--model.optimizer=torch.optim.AdamW",
        "--model.optimizer.lr=0.01",
        "--data=lit_detseg.data.ShapesDataModule",
        f"--data.train={shards / 'train'}",
        f"--data.total_batch_size={BATCH}",
        "--data.num_workers=2",
        "--data.prefetch_factor=4",
        f"--run.dir={run}",
        "--run.pictures=0",
        "--run.checkpoint_every=3",
        "--trainer.accelerator=cpu",
        "--trainer.devices=1",
        "--trainer.log_every_n_steps=1",
        f"--trainer.max_steps={steps}",
        "--ckpt_path=last",
        f"--trainer.callbacks={RECORDER}",
        f"--trainer.callbacks.path={notes}",
        *more,
        check=False,
    )
    lines = notes.with_suffix(".0.jsonl")
    taken = lines.read_text().splitlines() if lines.exists() else []
    return result, [json.loads(line) for line in taken]


def kill_at_random(
    shards: Path, run: Path, steps: int, kills: int, seed: int
) -> list[list[dict[str, Any]]]:
    """The steps of each attempt: `kills` that were killed, and the one that came to the end."""
    chance = random.Random(seed)
    attempts = []
    for _ in range(kills):
        killer = [
            f"--trainer.callbacks+={HERE}.KillSoon",
            f"--trainer.callbacks.batches={chance.randrange(9)}",
            f"--trainer.callbacks.seconds={chance.uniform(0, 0.03)}",
        ]
        result, taken = attempt(shards, run, steps, *killer)
        assert result.returncode == -signal.SIGKILL, result.stderr
        attempts.append(taken)
    result, taken = attempt(shards, run, steps)
    assert result.returncode == 0, result.stderr
    return [*attempts, taken]


def compare(attempts: list[list[dict[str, Any]]], undisturbed: list[dict[str, Any]]) -> int:
    """Assert that each attempt took steps of the undisturbed run, and none was left out.

    Args:
        attempts: the steps of each, in turn.
        undisturbed: all steps; images and exact losses.

    Returns:
        How many steps were taken more than once.
    """
    reached = 0
    for taken in attempts:
        if not taken:  # killed before its first step was over
            continue
        first, last = taken[0]["step"], taken[-1]["step"]
        assert first <= reached + 1, f"steps {reached + 1} to {first - 1} were never taken"
        assert taken == undisturbed[first - 1 : last]
        reached = max(reached, last)
    assert reached == len(undisturbed)
    return sum(map(len, attempts)) - reached


def _main() -> None:
    from lit_detseg.data.packing.pack import pack
    from lit_detseg.data.readers.shapes import ShapesReader

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    steps = 9 * options.kills + 20
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack(ShapesReader(images=22, seed=0, size=64), folder / "train", samples_per_shard=5)
        _, undisturbed = attempt(folder, folder / "undisturbed", steps)
        attempts = kill_at_random(folder, folder / "run", steps, options.kills, options.seed)
    again = compare(attempts, undisturbed)
    print(f"{options.kills} kills, {steps} steps, {again} of them taken again: all the same")


if __name__ == "__main__":
    _main()
