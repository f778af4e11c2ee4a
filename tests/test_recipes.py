"""Every recipe in `configs/recipes` parses, builds, trains two steps and validates two batches."""

import pytest

from lit_detseg.cli.main import main
from tests.conftest import REPOSITORY

RECIPES = sorted((REPOSITORY / "configs/recipes").glob("*.yaml"))
DEBUG = REPOSITORY / "configs/run/debug.yaml"

SMALL = "{class_path: lit_detseg.data.transforms.Resize, init_args: {height: 96, width: 96}}"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_runs(recipe, shards, tmp_path, monkeypatch):
    """On a few small drawn images and without pretrained weights, the recipe as it stands."""
    monkeypatch.chdir(tmp_path)
    options = [
        f"--data.train={shards / 'train'}",
        f"--data.val={shards / 'val'}",
        f"--data.test={shards / 'val'}",
        "--data.total_batch_size=2",
        "--data.num_workers=0",
        f"--data.train_transforms=[{SMALL}]",
        f"--data.eval_transforms=[{SMALL}]",
        "--model.backbone_weights=none",
    ]
    main(["fit", "-c", str(recipe), "-c", str(DEBUG), *options])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_recipe_says_what_it_is(recipe):
    """The head of a recipe: what and where from, the command, the measured number."""
    head = [line for line in recipe.read_text().splitlines() if line.startswith("#")]
    assert any(line.startswith(f"# Run:      lit-detseg fit -c {_name(recipe)}") for line in head)
    assert any(line.startswith("# Measured:") for line in head)
    assert "@@" not in recipe.read_text()


def _name(recipe):
    return recipe.relative_to(REPOSITORY)
