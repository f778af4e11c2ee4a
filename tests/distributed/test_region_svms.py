"""Two ranks (gloo) mine the negatives that one mines, in the same order; the same SVMs result."""

import pytest

from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint
from lit_detseg.runs.metrics_log import read_metrics
from tests.e2e.commands import run_command


def mine(shards, run, ranks):
    printed = run_command(
        "fit",
        "--model=lit_detseg.modules.RegionSVMs",
        "--model.svms.retrain_after=200",
        "--model.system=lit_detseg.modules.RCNN",
        "--model.system.network=squeezenet1_0",
        "--model.system.crop_side=40",
        "--model.system.crop_context=3",
        "--model.system.head_width=16",
        "--data=tests.region_data.GridShapesDataModule",
        "--data.step=16",
        f"--data.train={shards / 'train'}",
        "--data.total_batch_size=4",
        "--data.num_workers=0",
        f"--run.dir={run}",
        "--run.pictures=0",
        "--run.checkpoint_every=100",
        "--trainer.accelerator=cpu",
        "--trainer.log_every_n_steps=1",
        "--trainer.max_epochs=2",
        f"--trainer.devices={ranks}",
    ).stderr
    assert "parameters, 0 of them learn." in printed  # by their gradients


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("svms")
    for ranks in (1, 2):
        mine(shards, folder / str(ranks), ranks)
    return folder / "1", folder / "2"


def test_negatives_and_svms_are_the_same_bit_for_bit(runs):
    one, two = (load_checkpoint(newest_valid_checkpoint(run / "checkpoints")) for run in runs)
    assert one["global_step"] == two["global_step"] == 12
    of_one, of_two = one["region_pass"], two["region_pass"]
    assert of_one["trainings"].min() > 1
    for name, value in of_one["negatives"].items():
        assert value.equal(of_two["negatives"][name]), name
    for name in ("positives", "labels", "norms", "losses", "trainings"):
        assert of_one[name].equal(of_two[name]), name
    for name, value in one["state_dict"].items():
        assert value.equal(two["state_dict"][name]), name


def test_every_step_logs_the_same(runs):
    one, two = (read_metrics(run / "metrics.jsonl") for run in runs)
    for name in ("loss", "positives", "negatives", "trainings", "hinge_circle"):
        assert len(one[f"train/{name}"]) == 12
        assert one[f"train/{name}"] == two[f"train/{name}"], name
