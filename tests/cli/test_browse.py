"""`lit-detseg browse`: which training a page shows, and which mistakes are explained."""

import json

import pytest
import yaml

from lit_detseg.cli.browse import main
from lit_detseg.data import ShapesDataModule
from lit_detseg.data.proposals.compute import compute_proposals
from lit_detseg.data.proposals.grid import Grid
from lit_detseg.data.transforms import RandomHorizontalFlip
from lit_detseg.structures import UserError
from tests.conftest import REPOSITORY
from tests.data.shard_sets import write_numbered, write_shapes
from tests.reports.page_sets import write_known

RECIPES = REPOSITORY / "configs/recipes"
RECIPE = RECIPES / "faster_rcnn_tiny_shapes.yaml"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("browse") / "shapes", images=9)


def browse(out, *arguments):
    """What the page says, as data."""
    main([*map(str, arguments), "--out", str(out)])
    text = (out / "data.js").read_text(encoding="ascii")
    return json.loads(text.removeprefix("const DATASET = ").removesuffix(";\n"))


def test_a_page_is_written_and_its_size_is_said(shapes, tmp_path, capsys):
    data = browse(tmp_path / "page", shapes, "--images", "4")
    said = capsys.readouterr().out
    megabytes = sum(p.stat().st_size for p in (tmp_path / "page").rglob("*") if p.is_file()) / 1e6
    assert f"4 of 9 images, {megabytes:.1f} MB" in said
    assert f"{tmp_path / 'page'}/index.html" in said
    assert len(data["images"]) == 4
    assert data["command"].startswith(f"lit-detseg browse {shapes} --images 4 --out ")


def test_programs_are_told_too(shapes, tmp_path, capsys):
    browse(tmp_path / "page", shapes, "--json", "--augmented", "0")
    told = json.loads(capsys.readouterr().out)
    assert (told["out"], told["images"]) == (str(tmp_path / "page"), 9)
    assert told["files"] == sum(path.is_file() for path in (tmp_path / "page").rglob("*"))


def test_a_recipe_says_what_the_loss_sees(shapes, tmp_path):
    """The recipe's `data:` names a file beside it; its shards need not exist."""
    data = browse(tmp_path / "page", shapes, "-c", RECIPE)
    training = data["training"]
    assert training["recipe"] == str(RECIPE)
    assert training["transforms"] == ["RandomHorizontalFlip(probability=0.5)"]
    assert (training["batch"], training["masks"]) == (4, False)

    module = ShapesDataModule(
        str(shapes),
        total_batch_size=4,
        num_workers=0,
        train_transforms=[RandomHorizontalFlip(0.5)],
    )
    views = {(v["epoch"], v["position"]): i["key"] for i in data["images"] for v in i["views"]}
    for step, batch in enumerate(module.train_dataloader()):
        for place, key in enumerate(batch.annotations.image_ids):
            assert views[0, 4 * step + place] == key


def test_a_run_is_shown_with_its_own_seed_and_settings(shapes, tmp_path):
    """As `fit` stores it: all sections, resolved; the seed of everything is the data's."""
    config = {
        "seed_everything": 7,
        "trainer": {"max_steps": 3, "callbacks": None},
        "model": {"class_path": "not.imported.Detector", "init_args": {"num_classes": 3}},
        "run": {"dir": "somewhere"},
        "data": {
            "class_path": "lit_detseg.data.ShapesDataModule",
            "init_args": {
                "train": "gone",
                "val": "gone",
                "num_workers": 4,
                "total_batch_size": 2,
                "masks": True,
            },
        },
    }
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    data = browse(tmp_path / "page", shapes, "-c", file, "--data.total_batch_size=3")
    assert data["training"]["seed"] == 7
    assert data["training"]["batch"] == 3
    assert data["training"]["masks"] is True
    masks = [o["mask"] for image in data["images"] for v in image["views"] for o in v["objects"]]
    assert masks
    assert all(masks)


def test_a_file_of_a_data_module_alone_is_enough(shapes, tmp_path):
    data = browse(tmp_path / "page", shapes, "-c", REPOSITORY / "configs/data/shapes.yaml")
    assert data["training"]["transforms"] == ["RandomHorizontalFlip(probability=0.5)"]


def test_later_configurations_win(shapes, tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text("data: {init_args: {total_batch_size: 1}}\ntrainer: {max_steps: 1}\n")
    data = browse(tmp_path / "page", shapes, "-c", RECIPE, "-c", more)
    assert data["training"]["batch"] == 1
    assert data["training"]["transforms"] == ["RandomHorizontalFlip(probability=0.5)"]


@pytest.mark.parametrize(
    ("write", "recipe", "transforms"),
    [
        pytest.param(write_shapes, "the defaults of ShapesDataModule", [], id="known kind"),
        pytest.param(write_numbered, "the defaults of ShardDataModule", [], id="any other"),
    ],
)
def test_without_a_recipe_the_kind_of_the_set_decides(tmp_path, write, recipe, transforms):
    shards = write(tmp_path / "set", images=3)  # fewer than a batch
    data = browse(tmp_path / "page", shards)
    assert data["training"]["recipe"] == recipe
    assert data["training"]["transforms"] == transforms
    assert data["training"]["masks"] is True
    assert data["training"]["batch"] == 3


def test_several_sets_are_shown_as_one(tmp_path):
    folders = [write_numbered(tmp_path / name, images=3, prefix=name) for name in "ab"]
    data = browse(tmp_path / "page", *folders)
    assert [one["images"] for one in data["sets"]] == [3, 3]
    assert [image["key"][0] for image in data["images"]] == list("aaabbb")


def test_named_images_are_shown(tmp_path):
    shards = write_known(tmp_path / "set")
    data = browse(tmp_path / "page", shards, "--keys", "e,b two")
    assert [image["key"] for image in data["images"]] == ["b two", "e"]


def test_a_recipe_that_refuses_the_set_is_no_hindrance(shapes, tmp_path, capsys):
    data = browse(tmp_path / "page", shapes, "-c", RECIPE, "--data.total_batch_size=64")
    assert "fewer than one batch of 64" in data["training"]["refusal"]
    assert "fewer than one batch of 64" in capsys.readouterr().err
    assert all(image["views"] == [] for image in data["images"])


def test_a_page_shows_no_passwords(shapes, tmp_path):
    secret = "--data.storage_options={key: me, secret: hunter2}"
    unused = "--data.cache_dir=https://me:hunter2@host/?token=hunter2"
    data = browse(tmp_path / "page", shapes, "-c", RECIPE, secret, unused)
    assert "hunter2" not in json.dumps(data)
    assert "--data.cache_dir=https://host/" in data["command"]
    assert "--data.storage_options=..." in data["command"]


def test_a_page_is_only_replaced_when_asked(shapes, tmp_path):
    browse(tmp_path / "page", shapes, "--images", "1")
    with pytest.raises(UserError, match="already holds a page"):
        browse(tmp_path / "page", shapes)
    assert len(browse(tmp_path / "page", shapes, "--overwrite")["images"]) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--keys", "0000000x"], "no image with the key '0000000x'", id="key"),
        pytest.param(["--images", "0"], "from 1 to 2000 images, not 0", id="no image"),
        pytest.param(["-c", "nowhere.yaml"], "nowhere.yaml cannot be read", id="no recipe"),
        pytest.param(["--data.batch=3"], "'batch' is not accepted", id="setting"),
        pytest.param(["--image", "3"], "does not know '--image'", id="option"),
        pytest.param(["--images", "x"], "invalid int value", id="no number"),
    ],
)
def test_mistakes_are_explained(shapes, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        browse(tmp_path / "page", shapes, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("data: [", "cannot be read", id="no YAML"),
        pytest.param("7", "no sections", id="no sections"),
        pytest.param("model: {}", "has no section `data`", id="no data"),
        pytest.param("stages: [{name: one}]", "has no section `data`", id="a stage without data"),
        pytest.param("stages: {}", "must be a list", id="no stages"),
        pytest.param(
            "data: {class_path: lightning.pytorch.demos.boring_classes.BoringDataModule}",
            "does not read shards",
            id="other data module",
        ),
        pytest.param(
            "data: {class_path: lit_detseg.data.ShapesDataModule, init_args: {bach: 1}}",
            "'bach' is not accepted",
            id="misspelt setting",
        ),
    ],
)
def test_mistakes_in_a_recipe_are_explained(shapes, tmp_path, text, message):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(UserError, match=message):
        browse(tmp_path / "page", shapes, "-c", recipe)


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(UserError, match="is not a shard set"):
        browse(tmp_path / "page", tmp_path)


@pytest.fixture(scope="module")
def proposed(tmp_path_factory):
    """Shapes with proposals of a grid, under the name that recipes have for theirs."""
    folder = write_shapes(tmp_path_factory.mktemp("browse") / "proposed", images=9)
    compute_proposals(folder, Grid(levels=2), "selective_search")
    return folder


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_shown(proposed, tmp_path, recipe):
    """Of stages, the first."""
    data = browse(
        tmp_path / "page", proposed, "-c", recipe, "--data.total_batch_size=1", "--images", "1"
    )
    assert len(data["images"][0]["views"]) == 3
