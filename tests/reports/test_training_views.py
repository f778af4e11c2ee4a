"""What the page calls "as the loss sees it" is what the training loader delivers."""

import numpy as np
import pytest
import torch

from lit_detseg.data import ShardDataModule
from lit_detseg.data.loading.batches import unpack_batch
from lit_detseg.data.records import Object
from lit_detseg.data.remote.indexes import read_index
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import LargeScaleJitter, Mosaic, MultiScale, RandomHorizontalFlip
from lit_detseg.reports.dataset_page import PageOptions, StoredSet, Training, write_dataset_page
from lit_detseg.reports.training_views import TrainingViews
from tests.data.shard_sets import write_numbered, write_shapes
from tests.reports.page_sets import DOG, IMAGES, SIZE, write_known


def module(folder, **settings):
    return ShardDataModule(str(folder), **{"num_workers": 0, "total_batch_size": 4, **settings})


def views_of(data):
    loader = data.train_dataloader()
    return TrainingViews(loader.batches, loader.order)


@pytest.mark.parametrize(
    "transforms",
    [
        pytest.param([RandomHorizontalFlip(0.5), LargeScaleJitter(40, 56)], id="jitter"),
        pytest.param([MultiScale((32, 64), every=1), RandomHorizontalFlip(0.5)], id="by step"),
        pytest.param([Mosaic(64, 64)], id="mixed"),
    ],
)
def test_views_are_the_images_of_the_training_batches(tmp_path, transforms):
    data = module(write_shapes(tmp_path / "set", images=11), train_transforms=transforms, seed=5)
    loader = data.train_dataloader()
    trained = {}
    for epoch in range(2):
        for step, packed in enumerate(loader):
            batch = unpack_batch(packed)
            for place, target in enumerate(batch.targets):
                height, width = batch.images.sizes[place].tolist()
                pixels = batch.images.pixels[place, :, :height, :width]
                trained[target.image_id, epoch] = (step * 4 + place, pixels, target)

    views = views_of(data)
    sightings = views.sightings(np.arange(11), 2)
    compared = 0
    for sample, found in sightings.items():
        for sighting in found:
            key = (str(views.batches.reader.keys[sample]), sighting.epoch)
            if sighting.epoch > 1:  # dropped by the tail of an earlier epoch
                continue
            position, pixels, target = trained[key]
            view = views.read(sighting)
            assert sighting.position == position
            assert np.array_equal(view.pixels, pixels.permute(1, 2, 0).numpy())
            assert torch.equal(view.target.boxes, target.boxes)
            assert torch.equal(view.target.labels, target.labels)
            compared += 1
    assert compared == len(trained) == 2 * 8


def test_an_image_that_an_epoch_drops_is_found_in_later_ones(tmp_path):
    data = module(write_numbered(tmp_path / "set", images=11))
    views = views_of(data)
    found = views.sightings(np.arange(11), 3)
    assert {len(of_sample) for of_sample in found.values()} == {3}
    dropped = views.order.epoch(0)[8:]
    for sample, of_sample in found.items():
        epochs = [sighting.epoch for sighting in of_sample]
        assert epochs == sorted(set(epochs))
        assert (epochs[0] > 0) == (sample in dropped)


def test_views_name_the_images_that_were_mixed_in(tmp_path):
    data = module(write_shapes(tmp_path / "set", images=8), train_transforms=[Mosaic(64, 64)])
    views = views_of(data)
    (sighting,) = views.sightings(np.array([2]), 1)[2]
    view = views.read(sighting)
    assert len(view.companions) == 3
    assert set(view.companions) <= set(views.batches.reader.keys.tolist())


@pytest.mark.parametrize(
    ("flags", "on_difficult", "learned"),
    [
        pytest.param({}, False, True, id="plain"),
        pytest.param({"is_crowd": True}, True, False, id="crowd"),
        pytest.param({"is_difficult": True}, False, False, id="difficult"),
        pytest.param({"is_difficult": True}, True, True, id="difficult, wanted"),
        pytest.param({"is_truncated": True}, False, True, id="truncated"),
    ],
)
def test_what_is_learned_is_what_the_reader_keeps(tmp_path, flags, on_difficult, learned):
    data = module(write_numbered(tmp_path / "set", images=4), train_on_difficult=on_difficult)
    assert views_of(data).is_learned(Object((0, 0, 1, 1), 0, 1.0, **flags)) == learned


def test_transforms_are_described_as_one_would_write_them(tmp_path):
    data = module(
        write_numbered(tmp_path / "set", images=4), train_transforms=[RandomHorizontalFlip(0.25)]
    )
    said = views_of(data).description()
    assert said["transforms"] == ["RandomHorizontalFlip(probability=0.25)"]
    assert (said["seed"], said["batch"], said["masks"]) == (0, 4, False)


def test_the_loss_sees_what_training_reads(opened, page):
    opened.click("#view-training")
    module = ShardDataModule(
        str(page.parent / "set"),
        total_batch_size=1,
        num_workers=0,
        train_transforms=[RandomHorizontalFlip(1.0)],
    )
    for position, batch in enumerate(module.train_dataloader()):
        (key,) = batch.annotations.image_ids
        assert opened.boxes(key) == sorted(map(tuple, batch.boxes.tolist()))
        caption = opened.one(f".card[data-key='{key}'] figcaption").text
        assert f"epoch 0, position {position}" in caption

    (large_dog,) = [item.box for item in IMAGES["a"] if item.label == DOG]
    mirrored = (SIZE[1] - large_dog[2], large_dog[1], SIZE[1] - large_dog[0], large_dog[3])
    assert mirrored in opened.boxes("a")
    opened.click("#view-stored")
    assert large_dog in opened.boxes("a")


def test_what_the_loss_leaves_out_is_dashed_as_stored_and_absent_in_training(opened):
    assert opened.shown(".card .unlearned") == 2  # difficult, crowd
    dashes = opened.one(".card .unlearned rect:not(.under)").value_of_css_property(
        "stroke-dasharray"
    )
    assert dashes != "none"
    opened.click("#view-training")
    assert opened.shown(".card rect.box:not(.under)") == 5
    assert opened.shown(".card .unlearned") == 0


def test_later_times_are_those_of_later_epochs(opened):
    opened.click("#view-training")
    opened.choose("#draw", "2")
    captions = [e.text for e in opened.all(".card figcaption")]
    assert len(captions) == 5
    assert all("epoch 2" in caption for caption in captions)


def test_training_that_is_refused_is_explained(browser, tmp_path):
    shards = write_known(tmp_path / "set")
    sets = [StoredSet(str(shards), *read_index(shards))]
    refused = Training("a recipe", None, "The batch is too large.")
    write_dataset_page(tmp_path / "page", ShardReader(shards), sets, refused, "", PageOptions())
    browser.open(tmp_path / "page")

    assert not browser.one("#view-training").is_enabled()
    browser.click("#about summary")
    assert "The batch is too large." in browser.one("#about-text").text
    assert browser.shown(".card .unlearned") == 0
