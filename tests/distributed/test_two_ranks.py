"""Two real processes (gloo) train and evaluate like one with the same total batch."""

import pytest
import torch

from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint
from lit_detseg.runs.metrics_log import read_metrics
from tests.e2e.commands import fit_arguments, run_command

# Plain SGD: Adam divides by the gradient's size, so that a rounding error in a gradient of
# nearly zero would become a whole step.
SGD = (
    "--model.optimizer=torch.optim.SGD",
    "--model.optimizer.lr=0.01",
    "--model.lr_scheduler=torch.optim.lr_scheduler.ConstantLR",
)


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    """The same five steps and one validation on one process and on two."""
    folder = tmp_path_factory.mktemp("ranks")
    paths = {ranks: folder / f"ranks{ranks}" for ranks in (1, 2)}
    for ranks, path in paths.items():
        more = [*SGD, f"--trainer.devices={ranks}", "--trainer.max_steps=5"]
        validation = ["--trainer.val_check_interval=5", "--trainer.check_val_every_n_epoch=null"]
        run_command(*fit_arguments(shards, path, *more, *validation), WANDB_MODE="offline")
    return paths


def test_the_weights_after_five_steps_are_the_same(runs):
    one, two = (
        load_checkpoint(newest_valid_checkpoint(runs[ranks] / "checkpoints")) for ranks in (1, 2)
    )
    assert one["global_step"] == two["global_step"] == 5
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-3, atol=1e-5)


def test_the_scores_are_the_same(runs):
    one, two = (read_metrics(runs[ranks] / "metrics.jsonl") for ranks in (1, 2))
    scores = [name for name in one if name.startswith("val/")]
    assert "val/map_50" in scores
    for name in scores:
        assert dict(two[name]) == pytest.approx(dict(one[name]), abs=1e-4), name


def test_two_processes_leave_one_run_behind(runs):
    assert len(list((runs[2] / "wandb").glob("offline-run-*"))) == 1
    assert len(list((runs[2] / "tensorboard").glob("events.*"))) == 1
    losses = (runs[2] / "metrics.jsonl").read_text().count('"train/loss"')
    assert losses == 5  # one line per step, not one per step and rank
