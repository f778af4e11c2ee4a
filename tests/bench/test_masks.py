"""The benchmark trains ours and torchvision's by one recipe; tests do not ask which wins."""

import argparse
import json

import pytest
import yaml

from lit_detseg.bench.masks import add_arguments, rival_recipe, run, with_steps
from lit_detseg.errors import UserError
from tests.conftest import REPOSITORY

RECIPE = REPOSITORY / "configs/recipes/mask_rcnn_resnet18_fpn_nuclei.yaml"


def options(*arguments):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([str(one) for one in arguments])


def test_the_rival_gets_the_same_data_schedule_and_settings():
    ours = yaml.safe_load(RECIPE.read_text())
    rival = rival_recipe(ours)

    assert {**rival, "model": None} == {**ours, "model": None}
    init_args, of_ours = rival["model"]["init_args"], ours["model"]["init_args"]
    for name in ("optimizer", "lr_scheduler", "reference_batch_size", "metric"):
        assert init_args[name] == of_ours[name]
    given = init_args["model"]["init_args"]
    assert (given["network"], given["channels"], given["num_anchors"]) == ("resnet18", 128, 128)
    for name in ("anchors", "proposals", "rois", "detections", "masks", "head_width"):
        assert given[name] == of_ours[name]


def test_a_shorter_training_has_the_whole_schedule():
    ours = yaml.safe_load(RECIPE.read_text())
    shorter = with_steps(ours, 600)
    assert shorter["trainer"]["max_steps"] == 600
    arguments = shorter["model"]["init_args"]["lr_scheduler"]["init_args"]
    assert arguments == {"max_lr": 0.001, "total_steps": 601, "pct_start": 0.1}
    assert ours["trainer"]["max_steps"] == 1200
    del ours["model"]["init_args"]["lr_scheduler"]
    assert "lr_scheduler" not in with_steps(ours, 600)["model"]["init_args"]


def test_both_are_judged_by_their_masks_without_being_told():
    ours = yaml.safe_load(RECIPE.read_text())
    metric = ours["model"]["init_args"].pop("metric")
    assert rival_recipe(ours)["model"]["init_args"]["metric"] == metric


def test_a_recipe_whose_backbone_torchvision_lacks_is_refused():
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe["model"]["init_args"]["backbone"] = "squeezenet1_0_fpn"
    with pytest.raises(UserError, match=r"squeezenet1_0_fpn\. Torchvision's builder takes a Res"):
        rival_recipe(recipe)


@pytest.mark.parametrize("text", ["data: [", "7", "model: {}", None])
def test_what_is_no_recipe_is_refused(tmp_path, text):
    recipe = tmp_path / "recipe.yaml"
    if text is not None:
        recipe.write_text(text)
    with pytest.raises(UserError, match=r"recipe\.yaml cannot be read as a recipe"):
        run(options("--recipe", recipe, "--train", "a", "--test", "b", "--out", tmp_path / "out"))


@pytest.mark.parametrize("option", ["--seeds", "--steps"])
def test_nothing_cannot_be_trained(tmp_path, option):
    sets = ("--train", "a", "--test", "b", "--out", tmp_path)
    with pytest.raises(UserError, match=f"{option} 0: give at least 1"):
        run(options("--recipe", RECIPE, *sets, option, "0"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The recipe of nuclei on drawn shapes: few regions, small networks."""
    recipe = yaml.safe_load(RECIPE.read_text())
    recipe["data"] = {
        "class_path": "lit_detseg.data.ShapesDataModule",
        "init_args": {"total_batch_size": 2, "masks": True, "num_workers": 0},
    }
    few = {"training_before_nms": 30, "training_after_nms": 8, "before_nms": 30, "after_nms": 8}
    changes = {"proposals": few, "head_width": 16}
    recipe["model"]["init_args"].update(changes)
    recipe["model"]["init_args"]["backbone"]["init_args"]["fpn_channels"] = 32
    recipe["model"]["init_args"]["masks"]["hidden_channels"] = 32
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("against", "names"),
    [("torchvision", ["ours", "torchvision"]), ("pooling", ["roi_align", "roi_pool"])],
)
def test_both_are_trained_and_scored(against, names, recipe, shards, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    sets = ("--train", shards / "train", "--test", shards / "val")
    words = ("--recipe", recipe, "--against", against, *sets, "--steps", 1, "--out", tmp_path)

    run(options(*words, "--json"))
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["steps"], list(told["runs"])) == (1, names)
    for runs in told["runs"].values():
        assert set(runs[0]) == {"map", "map_50", "map_75", "box_map", "minutes"}

    run(options(*words))  # nothing is trained again
    table = capsys.readouterr().out
    assert all(name in table for name in [*names, "mask AP", "AP75"])
