"""The table trains what is missing and reads the rest; tests do not ask which system wins."""

import argparse
import json
import shutil

import pytest

from lit_detseg.bench.paper_table import RECIPES, add_arguments, run
from lit_detseg.errors import UserError
from tests.conftest import REPOSITORY
from tests.e2e.commands import RECIPE


def options(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(one) for one in arguments])


@pytest.fixture
def folder(shards, tmp_path, monkeypatch):
    """A folder of recipes in which Faster R-CNN is the demo's, with a step to learn."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    text = RECIPE.read_text().replace("../data", str(REPOSITORY / "configs/data"))
    text = text.replace("max_steps: 1300", "max_steps: 1")
    text = text.replace("val_check_interval: 650", "val_check_interval: 1")
    (tmp_path / f"{RECIPES['Faster R-CNN']}.yaml").write_text(text)
    return tmp_path


def words(shards, folder):
    sets = ("--train", shards / "train", "--test", shards / "val")
    return (*sets, "--recipes", folder, "--run-file", REPOSITORY / "configs/run/cpu.yaml")


@pytest.mark.timeout(400)
def test_a_system_that_has_a_recipe_gets_its_row(shards, folder, capsys):
    arguments = (*words(shards, folder), "--runs", folder / "runs")
    run(options(*arguments, "--json"))
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    (row,) = told["measured"]
    assert row["system"] == "Faster R-CNN"
    assert 0 <= row["ap_50"] <= 1
    assert row["seconds_per_image"] > 0
    assert row["training_minutes"] > 0
    assert row["proposal_seconds_per_image"] is None  # it makes its own
    files = [path for path in (folder / "runs").rglob("*") if path.is_file()]
    assert 0 < row["megabytes"] <= sum(path.stat().st_size for path in files) / 1e6
    assert {one["system"]: one["map"] for one in told["published"]["systems"]} == {
        "R-CNN": 66.0,
        "SPP-net": 63.1,
        "Fast R-CNN": 70.0,
        "Faster R-CNN": 73.2,
        "YOLO v1": 63.4,
    }

    run(options(*arguments))
    table = capsys.readouterr().out
    assert "73.2" in table
    assert "arXiv:1506.01497" in table


def test_a_system_without_recipe_is_named(shards, folder):
    with pytest.raises(UserError, match="no recipe .*rcnn_squeezenet_bccd.yaml. Give its folder"):
        run(options(*words(shards, folder), "--runs", folder / "runs", "--only", "R-CNN"))


def test_a_folder_without_recipes_is_named(shards, tmp_path):
    with pytest.raises(UserError, match="holds none of the recipes. Give their folder"):
        run(options(*words(shards, tmp_path), "--runs", tmp_path / "runs"))


def test_missing_proposals_are_named_with_the_command(shards, folder):
    shutil.copy(REPOSITORY / f"configs/recipes/{RECIPES['Fast R-CNN']}.yaml", folder)
    with pytest.raises(UserError, match="no proposals .*lit-detseg propose SHARDS --method sel"):
        run(options(*words(shards, folder), "--runs", folder / "runs", "--only", "Fast R-CNN"))
    assert not (folder / "runs").exists()
