"""The data modules under a real Trainer: order, ranks, what is known and what is refused."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ArgumentParser
from lightning import LightningDataModule, Trainer
from torchvision.transforms import v2

from lit_detseg.data import CocoDataModule, ShapesDataModule, ShardDataModule, VOCDataModule
from lit_detseg.data.records import Object
from lit_detseg.data.sampling import RepeatFactor
from lit_detseg.data.transforms import (
    RandomHorizontalFlip,
    ResizeShortestSide,
    TorchvisionTransform,
)
from lit_detseg.structures import LabelMap, UserError
from tests.conftest import REPOSITORY
from tests.data.diary import IMAGES, STEPS, WORKERS, Diary, data, expected, fit
from tests.data.proposals.sets import write_numbered_proposals
from tests.data.shard_sets import raw_sample, write_numbered, write_shards

CONFIGS = sorted((REPOSITORY / "configs/data").glob("*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(write_numbered(tmp_path_factory.mktemp("modules") / "set", IMAGES))


@pytest.mark.parametrize("workers", WORKERS)
def test_epochs_follow_each_other_in_different_order(folder, workers):
    module = fit(Diary(), data(folder, **workers))
    assert module.trained == expected(folder, range(3 * STEPS))
    epochs = [module.trained[e * STEPS : (e + 1) * STEPS] for e in range(3)]
    assert all(one != other for one, other in pairwise(epochs))


def test_evaluation_sees_every_image_once_and_in_order(folder):
    data_module = data(folder, val=folder, test=folder, predict=folder, eval_batch_size=4)
    module = fit(Diary(), data_module, max_epochs=1)
    keys = [f"{number:04d}" for number in range(IMAGES)]
    assert module.evaluated == keys
    for run in (Trainer.test, Trainer.predict):
        module.evaluated = []
        options = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}
        run(Trainer(**options), module, datamodule=data_module)
        assert module.evaluated == keys


class TwoRanks(Diary):
    """Each rank leaves its diary in a file."""

    def on_fit_end(self):
        text = json.dumps({"trained": self.trained, "evaluated": self.evaluated})
        (self.path / f"{self.global_rank}.json").write_text(text)


def test_two_processes_share_each_step_and_each_image_is_evaluated_once(folder, tmp_path):
    """With Lightning's own sampler left switched on, which would show image 0 twice."""
    options = {"strategy": "ddp_fork", "devices": 2, "max_epochs": 1}
    data_module = data(folder, val=folder, eval_batch_size=5, num_workers=1)
    fit(TwoRanks(path=tmp_path), data_module, use_distributed_sampler=True, **options)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    together = [a + b for a, b in zip(*(rank["trained"] for rank in ranks), strict=True)]
    assert together == expected(folder, range(STEPS))
    evaluated = ranks[0]["evaluated"] + ranks[1]["evaluated"]
    assert sorted(evaluated) == [f"{number:04d}" for number in range(IMAGES)]


def test_a_data_module_works_in_a_plain_loop(folder):
    first, second = data(folder), data(folder)
    loader = first.train_dataloader()
    batches = [batch.annotations.image_ids for batch in loader]
    assert batches == expected(folder, range(STEPS))
    second.load_state_dict({**first.state_dict(), "step": 3})
    resumed = [batch.annotations.image_ids for batch in second.train_dataloader()]
    assert resumed == expected(folder, range(3, STEPS))


def test_what_is_known_without_opening_a_shard(folder, tmp_path):
    module = data(folder, val=folder)
    assert module.label_map == LabelMap(("cat", "dog"))
    assert module.num_images("train") == module.num_images("val") == IMAGES
    other = write_shards(
        tmp_path / "set",
        [raw_sample("a", np.zeros((8, 8, 3), np.uint8))],
        label_map=LabelMap(("cat", "cow")),
    )
    with pytest.raises(UserError, match=r"data.train and data.val have different classes: label 1"):
        _ = data(folder, val=str(other)).label_map


def test_several_training_sets_are_read_as_one(folder, tmp_path):
    other = str(write_numbered(tmp_path / "more", images=3, prefix="x"))
    module = fit(Diary(), data([folder, other]), max_epochs=1)
    assert len({key for step in module.trained for key in step}) == 24


@pytest.mark.parametrize(
    ("options", "trainer", "message"),
    [
        pytest.param({"train": None}, {}, "No shards were given", id="no shards"),
        pytest.param({"total_batch_size": 22}, {}, "fewer than one batch of 22", id="too large"),
        pytest.param(
            {"total_batch_size": 4},
            {"accumulate_grad_batches": 3},
            "1 processes x 3 accumulated steps. Use a multiple of 3, for example 3",
            id="accumulation",
        ),
    ],
)
def test_mistakes_are_found_before_training(folder, options, trainer, message):
    with pytest.raises(UserError, match=message):
        fit(Diary(), data(folder, **options), **trainer)


@pytest.mark.parametrize(
    ("kind", "sizes"), [(CocoDataModule, (800, 1333)), (VOCDataModule, (600, 1000))]
)
def test_each_data_set_has_the_transforms_of_its_papers(kind, sizes):
    resize, flip = kind().train_transforms
    assert isinstance(resize, ResizeShortestSide)
    assert isinstance(flip, RandomHorizontalFlip)
    assert (resize.min_sizes, resize.max_size) == ([sizes[0]], sizes[1])
    assert [type(transform) for transform in kind().eval_transforms] == [ResizeShortestSide]
    assert kind(train_transforms=[]).train_transforms == []
    assert ShardDataModule().train_transforms == ShapesDataModule().eval_transforms == []


def parsed(*arguments):
    """What the command line makes of its `data` section."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(LightningDataModule, "data")
    return parser.instantiate_classes(parser.parse_args(arguments)).data


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_recipe_includes_a_data_file_and_the_command_line_changes_it(path, tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "data").symlink_to(path.parent)
    recipe = tmp_path / "recipes/some.yaml"
    recipe.write_text(f"data: ../data/{path.name}")
    monkeypatch.chdir(Path.home())  # the path counts from the recipe

    module = parsed("--config", str(recipe), "--data.train=[A,B]", "--data.total_batch_size=6")

    assert isinstance(module, ShardDataModule)
    assert module.folders["train"] == ["A", "B"]
    assert module.total_batch_size == 6
    if not isinstance(module, ShapesDataModule):
        kinds = [type(transform) for transform in module.train_transforms]
        as_they_are = path.stem.endswith("_regions")
        assert (RandomHorizontalFlip in kinds) != as_they_are
        assert (ResizeShortestSide in kinds) == (path.stem != "nuclei" and not as_they_are)


def test_torchvisions_transforms_can_stand_in_a_recipe():
    module = parsed(
        "--data=lit_detseg.data.ShapesDataModule",
        "--data.train_transforms+=lit_detseg.data.transforms.TorchvisionTransform",
        "--data.train_transforms.transform=torchvision.transforms.v2.ColorJitter",
        "--data.train_transforms.transform.brightness=0.3",
    )
    (transform,) = module.train_transforms
    assert isinstance(transform, TorchvisionTransform)
    assert transform.transform.brightness == (0.7, 1.3)


def test_masks_travel_to_the_targets_where_they_are_asked_for(shards):
    batches = {}
    for masks in (False, True):
        module = data(str(shards / "train"), masks=masks)
        packed = next(iter(module.train_dataloader()))
        batches[masks] = module.on_after_batch_transfer(packed, 0)
    assert all(target.masks is None for target in batches[False].targets)
    assert sum(len(target.boxes) for target in batches[True].targets) > 0
    for target in batches[True].targets:
        assert len(target.masks.polygons) == len(target.boxes)
        assert (target.masks.count_bytes > 0).all()  # drawn shapes come as run lengths


def test_sampling_and_grouping_reach_the_order(tmp_path):
    """Two high images and four wide ones; the only dog is on one of the wide ones."""
    sizes = [(8, 4), (8, 4), (4, 8), (4, 8), (4, 8), (4, 8)]
    objects = [Object(box=(0.0, 0.0, 2.0, 2.0), label=int(n == 5), area=4.0) for n in range(6)]
    images = [
        raw_sample(f"{n}", np.zeros((*size, 3), np.uint8), [objects[n]])
        for n, size in enumerate(sizes)
    ]
    folder = str(write_shards(tmp_path / "set", images))
    options = {"total_batch_size": 2, "sampling": RepeatFactor(0.7), "group_by_aspect_ratio": True}
    module = data(folder, **options)

    steps = [
        [t.image_id for t in module.on_after_batch_transfer(packed, 0).targets]
        for packed in module.train_dataloader()
    ]

    # The dog's share is 1 / 6: sqrt(0.7 x 6) = 2.05 copies, and those of the cats 1.
    shown = [key for step in steps for key in step]
    assert shown.count("5") >= 2
    assert all(len({key in "01" for key in step}) == 1 for step in steps)
    assert any("RepeatFactor(threshold=0.7) lists" in line for line in module.plan_lines())
    assert any("one orientation" in line for line in module.plan_lines())


def test_the_plan_says_what_an_epoch_reads(folder):
    lines = [" ".join(line.split()) for line in data(folder, val=folder).plan_lines()]
    assert "images 21" in lines
    assert "shards 6" in lines
    assert "steps 5 of 4 images over all ranks" in lines
    assert "ranks 1, each reads 4 images of a step" in lines
    assert "tail 1 left out of each epoch, others every time" in lines
    assert "validation 21 images, each of them once" in lines


@pytest.fixture
def proposed(tmp_path):
    """Two sets with proposals, and how many each image has."""
    counts = [3, 0, 1, 2, 5, 0], [1, 0, 2]
    first = write_numbered_proposals(tmp_path / "first", counts[0])
    second = write_numbered_proposals(tmp_path / "second", counts[1], prefix="b", first=50)
    return [str(first), str(second)], [*counts[0], *counts[1]]


class Proposed(Diary):
    """Writes down how many proposals each image came with."""

    def __init__(self):
        super().__init__()
        self.seen, self.evaluated_with = {}, {}

    def training_step(self, batch, batch_index):
        self.seen |= self.counts(batch)
        return super().training_step(batch, batch_index)

    def validation_step(self, batch, batch_index):
        self.evaluated_with |= self.counts(batch)

    def counts(self, batch):
        pairs = zip(batch.targets, batch.images.proposals, strict=True)
        return {target.image_id: len(rows) for target, rows in pairs}


@pytest.mark.parametrize("workers", WORKERS[:2])
def test_the_model_gets_the_proposals_of_every_set(proposed, workers):
    folders, counts = proposed
    options = {"proposals": "numbered", "max_proposals": 2, **workers}
    data_module = ShardDataModule(folders, val=folders, total_batch_size=3, **options)

    module = fit(Proposed(), data_module, max_epochs=1)

    expected = {f"{number:04d}": min(count, 2) for number, count in enumerate(counts[:6])}
    expected |= {f"b{number:04d}": min(count, 2) for number, count in enumerate(counts[6:])}
    assert module.seen == module.evaluated_with == expected
    assert data_module.num_proposals("train") == data_module.num_proposals("val") == expected


def test_proposals_that_are_not_there_are_named_before_training(proposed):
    folders, _ = proposed
    with pytest.raises(UserError, match=r"no proposals 'rpn' beside .*first .there: numbered."):
        ShardDataModule(folders, proposals="rpn").setup("fit")
    with pytest.raises(UserError, match="No proposals are read: set `--data.proposals=NAME`"):
        ShardDataModule(folders).num_proposals("train")
    with pytest.raises(UserError, match="max_proposals = 5, but no proposals are read"):
        ShardDataModule(folders, max_proposals=5)


@pytest.mark.parametrize("which", ["train_transforms", "eval_transforms"])
def test_transforms_that_lose_proposals_are_refused_at_once(which):
    transforms = {which: [TorchvisionTransform(v2.RandomHorizontalFlip())]}
    with pytest.raises(UserError, match="through TorchvisionTransform"):
        ShardDataModule(proposals="grid", **transforms)
    ShardDataModule(**transforms)
