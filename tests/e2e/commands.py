"""Run `lit-detseg` as a user does: as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

RECIPE = REPOSITORY / "configs/recipes/faster_rcnn_tiny_shapes.yaml"


def run_command(*arguments, timeout=240, check=True, **environment):
    """Run `lit-detseg ARGUMENTS` offline; on failure show what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "lit_detseg", *map(str, arguments)],
        cwd=REPOSITORY,
        env={**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check and result.returncode:
        raise AssertionError(f"exit code {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def fit_arguments(shards: Path, run: Path, *more) -> list:
    """A few steps of the demo's recipe on a handful of small images."""
    return [
        "fit",
        *("-c", RECIPE),
        f"--data.train={shards / 'train'}",
        f"--data.val={shards / 'val'}",
        "--data.total_batch_size=4",
        "--data.num_workers=2",
        f"--run.dir={run}",
        "--run.pictures=0",
        "--run.checkpoint_every=2",
        "--trainer.accelerator=cpu",
        "--trainer.log_every_n_steps=1",
        "--trainer.max_steps=8",
        *more,
    ]
