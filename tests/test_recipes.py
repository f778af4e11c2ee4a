"""Every recipe in `configs/recipes` parses, builds, trains two steps and validates two batches.

Stage files train a step in each of their stages.
"""

import shutil

import pytest
import torch

from lit_detseg.cli.main import main
from lit_detseg.data.proposals.compute import compute_proposals
from lit_detseg.data.proposals.grid import Grid
from lit_detseg.runs.checkpoints import load_checkpoint, newest_valid_checkpoint
from tests.conftest import REPOSITORY
from tests.e2e.commands import run_command

FILES = sorted((REPOSITORY / "configs/recipes").glob("*.yaml"))
STAGE_FILES = [path for path in FILES if "\nstages:\n" in path.read_text()]
RECIPES = [path for path in FILES if path not in STAGE_FILES]
DEBUG = REPOSITORY / "configs/run/debug.yaml"

SMALL = "{class_path: lit_detseg.data.transforms.Resize, init_args: {height: 96, width: 96}}"

STEPS = ["--trainer.max_steps=1", "--model.backbone_weights=none"]


def region_stages(*arguments):
    """Options of R-CNN and SPP-net: the same arguments for the detector in each of their stages."""
    in_passes = [
        f"--{stage}.model.system.init_args.{argument}"
        for stage in ("features", "svms", "boxes")
        for argument in arguments
    ]
    return [
        *(f"--fine_tuning.model.{argument}" for argument in arguments),
        *in_passes,
        "--data.max_proposals=6",
        "--fine_tuning.trainer.max_steps=1",
        "--fine_tuning.trainer.val_check_interval=1",
    ]


CROPS = ("network=squeezenet1_0", "weights=none", "crop_side=32", "crop_context=2", "head_width=16")
PYRAMIDS = ("backbone_weights=none", "scales=[48,64]", "head_width=16")

# VGG-16 would write 2 GB in each stage: another network with one map of the same stride and width.
IN_LITTLE = {
    "faster_rcnn_vgg16_voc2007_alternating": [
        *STEPS,
        "--model.backbone=squeezenet1_0",
        *(f"--{rpn}.model.anchors.sizes=[[16,32,64]]" for rpn in ("rpn_1", "rpn_2", "faster_rcnn")),
        *(f"--{head}.model.head_width=16" for head in ("detector_1", "detector_2", "faster_rcnn")),
    ],
    "rcnn_squeezenet_bccd": region_stages(*CROPS),
    "rcnn_vgg16_voc2007": region_stages(*CROPS),
    "spp_net_squeezenet_bccd": region_stages(*PYRAMIDS),
    "spp_net_zf_voc2007": region_stages(*PYRAMIDS, "layer_weights=none"),
}

# Networks that are given as objects bring their weights along.
OF_OBJECTS = {
    "faster_rcnn_resnet50_c4_coco2017": ["--model.backbone.init_args.weights=none"],
}


@pytest.fixture(scope="module")
def proposed(shards, tmp_path_factory):
    """The drawn images with proposals of a grid, under the name that recipes have for theirs."""
    folder = tmp_path_factory.mktemp("proposed")
    shutil.copytree(shards, folder, dirs_exist_ok=True)
    for split in ("train", "val"):
        compute_proposals(folder / split, Grid(levels=3), "selective_search")
    return folder


def small_options(shards):
    """A few small drawn images, and no pretrained weights."""
    return [
        f"--data.train={shards / 'train'}",
        f"--data.val={shards / 'val'}",
        f"--data.test={shards / 'val'}",
        "--data.total_batch_size=2",
        "--data.num_workers=0",
        f"--data.train_transforms=[{SMALL}]",
        f"--data.eval_transforms=[{SMALL}]",
    ]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs(recipe, proposed, tmp_path, monkeypatch):
    """On a few small drawn images and without pretrained weights, the recipe as it stands."""
    monkeypatch.chdir(tmp_path)
    no_weights = OF_OBJECTS.get(recipe.stem, ["--model.backbone_weights=none"])
    main(["fit", "-c", str(recipe), "-c", str(DEBUG), *small_options(proposed), *no_weights])


@pytest.fixture(scope="module")
def stage_runs(proposed, tmp_path_factory):
    """A function that runs a stage file in little, once, and returns where."""
    done = {}

    def run(file):
        if file not in done:
            folder = tmp_path_factory.mktemp("stages")
            shutil.copytree(proposed, folder / "shards")  # more proposals are written there
            done[file] = folder / "run"
            run_command(
                *("fit", "--stages", file, "--run.dir", done[file]),
                *("--trainer.accelerator=cpu", "--trainer.devices=1"),
                "--run.pictures=0",
                *small_options(folder / "shards"),
                *IN_LITTLE.get(file.stem, STEPS),
                timeout=800,
            )
        return done[file]

    return run


def weights(run, folder):
    state = load_checkpoint(newest_valid_checkpoint(run / folder / "checkpoints"))["state_dict"]
    return {name.removeprefix("model."): tensor for name, tensor in state.items()}


def part(tensors, name):
    return {key: tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", STAGE_FILES, ids=lambda path: path.stem)
def test_stage_file_runs(file, stage_runs):
    run = stage_runs(file)
    assert all((folder / "run.json").is_file() for folder in run.iterdir())


ALTERNATING = [path for path in STAGE_FILES if path.stem.endswith("_alternating")]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", ALTERNATING, ids=lambda path: path.stem)
def test_alternating_training_shares_its_convolutions(file, stage_runs):
    """Steps 3 and 4 leave the convolutions of step 2 as they are; the rest is theirs."""
    run = stage_runs(file)
    rpn_1, detector_1, rpn_2, detector_2, joined = (
        weights(run, folder)
        for folder in ("01_rpn_1", "03_detector_1", "04_rpn_2", "06_detector_2", "07_faster_rcnn")
    )

    for later in (rpn_2, detector_2, joined):
        assert_same(part(later, "backbone"), part(detector_1, "backbone"))
    assert_same(part(joined, "rpn"), part(rpn_2, "rpn"))
    assert_same(part(joined, "roi_stage"), part(detector_2, "roi_stage"))
    assert len(joined) == len(detector_2) + len(part(rpn_2, "rpn"))
    learned = [name for name in part(detector_2, "roi_stage") if name.endswith("weight")]
    assert all(not torch.equal(detector_2[name], detector_1[name]) for name in learned)
    assert not torch.equal(rpn_2["rpn.head.convs.0.weight"], rpn_1["rpn.head.convs.0.weight"])


@pytest.mark.parametrize("recipe", FILES, ids=lambda path: path.stem)
def test_recipe_says_what_it_is(recipe):
    """The head of a recipe: what and where from, the command, the measured number."""
    head = [line for line in recipe.read_text().splitlines() if line.startswith("#")]
    option = "--stages" if recipe in STAGE_FILES else "-c"
    name = recipe.relative_to(REPOSITORY)
    assert any(line.startswith(f"# Run:      lit-detseg fit {option} {name}") for line in head)
    assert any(line.startswith("# Measured:") for line in head)
    assert "@@" not in recipe.read_text()
