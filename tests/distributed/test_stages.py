"""A sequence of stages on two real processes (gloo) is the sequence on one."""

import os
import subprocess
import sys

import pytest
import torch

from lit_detseg.runs.metrics_log import read_metrics
from tests.conftest import REPOSITORY
from tests.e2e.commands import run_command
from tests.toy_stages import FOLDERS, weights_of_stages, write_toy_stages

TWO = ("--trainer.devices=2", "--trainer.strategy=ddp")


@pytest.fixture(scope="module")
def alone(shards, tmp_path_factory):
    """The stage file, and its run on one process."""
    folder = tmp_path_factory.mktemp("alone")
    file = write_toy_stages(folder / "toy.yaml", shards)
    run_command("fit", "--stages", file, "--run.dir", folder / "run")
    return file, folder / "run"


def on_two_ranks_of_lightning(file, run):
    """One program runs the stages; each stage starts its second process by itself."""
    return run_command("fit", "--stages", file, "--run.dir", run, *TWO).stdout


def on_two_ranks_of_torchrun(file, run):
    """Two programs run the stages, as under srun, and each has its own process of a stage."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = ["-m", "lit_detseg", "fit", "--stages", file, "--run.dir", run, *TWO]
    result = subprocess.run(
        [*launcher, *map(str, command)],
        cwd=REPOSITORY,
        env={**os.environ, "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.parametrize("launch", [on_two_ranks_of_lightning, on_two_ranks_of_torchrun])
def test_two_ranks_end_with_the_weights_of_one(alone, tmp_path, launch):
    file, expected = alone
    printed = launch(file, tmp_path / "run")

    weights, of_one = weights_of_stages(tmp_path / "run"), weights_of_stages(expected)
    for folder in FOLDERS:
        for name, value in of_one[folder].items():
            torch.testing.assert_close(weights[folder][name], value, rtol=1e-4, atol=1e-6)
    assert printed.count("Stage 2 of 3, second: started.") == 1  # said once, by rank zero
    scores, of_one = (
        dict(read_metrics(run / "03_joined/metrics.jsonl")["val/map_50"])
        for run in (tmp_path / "run", expected)
    )
    assert scores == pytest.approx(of_one, abs=1e-4)
