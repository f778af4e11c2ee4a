"""`kill -9` after any step, then `--ckpt_path last`: the run that nobody killed, bit for bit."""

import json

import pytest
import torch

from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint
from lit_detseg.runs.metrics_log import read_metrics
from tests.e2e.commands import fit_arguments, run_command

RECORDER = "tests.training_aids.StepRecorder"
KILLER = "tests.training_aids.KillAfterStep"
LOSSES = {
    "train/rpn_objectness",
    "train/rpn_box",
    "train/classification",
    "train/box_regression",
    "train/loss",
}


def record(shards, run, *more, **options):
    """Train with every step noted in `run`.0.jsonl."""
    notes = run.with_suffix(".notes")
    callbacks = [f"--trainer.callbacks={RECORDER}", f"--trainer.callbacks.path={notes}"]
    return run_command(*fit_arguments(shards, run, *callbacks, *more), **options)


def steps_of(run):
    """For each optimiser step what its last execution saw, in order of the steps."""
    lines = run.with_suffix(".0.jsonl").read_text().splitlines()
    steps = {entry["step"]: entry for entry in map(json.loads, lines)}
    return [steps[step] for step in sorted(steps)]


def loss_curves(run):
    """What the metrics log says of the losses, all attempts read as one."""
    curves = read_metrics(run / "metrics.jsonl")
    return {name: curve for name, curve in curves.items() if name in LOSSES}


def weights_of(run):
    return load_checkpoint(newest_valid_checkpoint(run / "checkpoints"))["state_dict"]


@pytest.fixture(scope="module")
def undisturbed(shards, tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    record(shards, run)
    return run


def test_the_undisturbed_run_takes_every_step_once(undisturbed):
    steps = steps_of(undisturbed)
    assert [entry["step"] for entry in steps] == list(range(1, 9))
    first_epoch = [image for entry in steps[:5] for image in entry["ids"]]
    assert len(set(first_epoch)) == 20  # 22 images, five whole steps of four: two left out
    assert steps[0]["losses"].keys() == LOSSES
    assert loss_curves(undisturbed).keys() == LOSSES


@pytest.mark.parametrize(
    "killed_after",
    [
        pytest.param(1, id="before the first checkpoint"),
        pytest.param(3, id="one step after a checkpoint"),
        pytest.param(4, id="right after a checkpoint, mid-epoch"),
        pytest.param(5, id="between two epochs"),
        pytest.param(7, id="in the second epoch"),
    ],
)
def test_a_killed_run_continues_exactly(shards, undisturbed, tmp_path, killed_after):
    run = tmp_path / "run"
    killer = [f"--trainer.callbacks+={KILLER}", f"--trainer.callbacks.step={killed_after}"]
    killed = record(shards, run, *killer, check=False, WANDB_MODE="offline")
    assert killed.returncode == -9, killed.stderr

    record(shards, run, "--ckpt_path=last", WANDB_MODE="offline")

    assert steps_of(run) == steps_of(undisturbed)
    assert loss_curves(run) == loss_curves(undisturbed)
    wandb_ids = [path.name.rpartition("-")[2] for path in (run / "wandb").glob("offline-run-*")]
    assert len(wandb_ids) == 2
    assert len(set(wandb_ids)) == 1
    expected = weights_of(undisturbed)
    for name, value in weights_of(run).items():
        assert torch.equal(value, expected[name]), name
