"""Two real processes (gloo), or two halves of a batch, train like one with the whole batch."""

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


# How the four images of a step are shared: ranks, and batches in turn.
SHARES = {
    "whole": ("--trainer.devices=1", "--trainer.val_check_interval=5"),
    "two ranks": ("--trainer.devices=2", "--trainer.val_check_interval=5"),
    "two halves": (
        "--trainer.devices=1",
        "--trainer.accumulate_grad_batches=2",
        "--trainer.val_check_interval=10",
    ),
}


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    """The same five steps and one validation, shared in different ways."""
    folder = tmp_path_factory.mktemp("ranks")
    paths = {name: folder / name.replace(" ", "_") for name in SHARES}
    for name, path in paths.items():
        more = [*SGD, *SHARES[name], "--trainer.max_steps=5"]
        more.append("--trainer.check_val_every_n_epoch=null")
        run_command(*fit_arguments(shards, path, *more), WANDB_MODE="offline")
    return paths


@pytest.mark.parametrize("share", ["two ranks", "two halves"])
def test_the_weights_after_five_steps_are_the_same(runs, share):
    one, two = (
        load_checkpoint(newest_valid_checkpoint(runs[name] / "checkpoints"))
        for name in ("whole", share)
    )
    assert one["global_step"] == two["global_step"] == 5
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(two["state_dict"][name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("share", ["two ranks", "two halves"])
def test_the_scores_are_the_same(runs, share):
    one, two = (read_metrics(runs[name] / "metrics.jsonl") for name in ("whole", share))
    scores = [name for name in one if name.startswith("val/")]
    assert "val/map_50" in scores
    for name in scores:
        assert dict(two[name]) == pytest.approx(dict(one[name]), abs=1e-4), name


def test_two_processes_leave_one_run_behind(runs):
    assert len(list((runs["two ranks"] / "wandb").glob("offline-run-*"))) == 1
    assert len(list((runs["two ranks"] / "tensorboard").glob("events.*"))) == 1
    losses = (runs["two ranks"] / "metrics.jsonl").read_text().count('"train/loss"')
    assert losses == 5  # one line per step, not one per step and rank
