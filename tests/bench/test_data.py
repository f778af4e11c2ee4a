"""The benchmark reads the same images in each way; what it measures is not a matter for tests."""

import json

import numpy as np
import pytest
from PIL import Image

from lit_detseg.bench.coco_like import draw_coco_like
from lit_detseg.bench.data import OURS, OURS_DENSE, THEIRS, measure_data
from lit_detseg.bench.pipelines import our_batches, our_pipeline, torchvision_pipeline
from lit_detseg.data.loading.batches import unpack_batch
from lit_detseg.data.loading.handover import MOST_PIECES
from lit_detseg.data.order import Slots
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.data.shards import ShardReader


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco_like")
    draw_coco_like(folder, images=8)
    index = pack(CocoReader(folder / "images", folder / "instances.json"), folder / "shards")
    assert not index.report["dropped"]
    return folder


def test_drawn_images_weigh_as_much_as_cocos(drawn):
    files = sorted((drawn / "images").glob("*.jpg"))
    assert len(files) == 8
    assert 110e3 < np.mean([file.stat().st_size for file in files]) < 160e3
    content = json.loads((drawn / "instances.json").read_text())
    assert len(content["annotations"]) == 8 * 7
    points = [len(one["segmentation"][0]) // 2 for one in content["annotations"]]
    assert min(points) >= 20
    assert max(points) <= 60
    with Image.open(files[0]) as image:
        assert image.size == (640, 480)


def test_both_ways_read_every_image_once_an_epoch(drawn):
    for epoch in (torchvision_pipeline(drawn, 0), our_pipeline(drawn / "shards", 0)):
        assert list(epoch()) == [4, 4]


def test_both_ways_give_the_same_objects(drawn):
    batch = our_batches(ShardReader(drawn / "shards"))[Slots(np.arange(4), np.arange(4))]
    assert batch.pixels.shape == (4, 3, 800, 1088)
    for target in unpack_batch(batch).targets:
        assert len(target.boxes) == 7
        assert target.masks.polygons.tolist() == [1] * 7


def test_a_measurement_has_all_its_numbers(tmp_path):
    advanced = {}

    def start(title, total):
        advanced[title] = [0.0, total]
        return lambda by: advanced[title].__setitem__(0, advanced[title][0] + by)

    found = measure_data(tmp_path, images=20, workers=1, rounds=1, start=start).to_json()

    assert set(found["rates"]) == {THEIRS, OURS, OURS_DENSE}
    assert all(min(rate.values()) > 0 for rate in found["rates"].values())
    stages = ["read", "decode", "record and masks", "transforms", "collate", "hand-over"]
    assert list(found["stages"]) == stages
    rates = found["rates"]
    assert found["ratio"] == rates[OURS]["images_per_second"] / rates[THEIRS]["images_per_second"]
    assert sum(found["stages"].values()) == pytest.approx(rates[OURS]["cpu_ms"])
    assert found["memory"]["peak"] > found["memory"]["own"] > 0
    # A worker whose batches are not taken at once makes more pieces, two descriptors each.
    assert 0 <= found["memory"]["descriptor_growth"] <= 2 * MOST_PIECES
    assert all(done == total for done, total in advanced.values())
