"""Real data sets are clean, and what is known to be odd about them is said."""

import pytest

from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.data.readers.voc import VocReader
from lit_detseg.data.verification.verify import verify
from tests.conftest import SHARED
from tests.data.verification.crafted import found_in


def coco(name, split, folder="{}"):
    root = SHARED / "data" / name
    annotations = root / f"annotations/instances_{split}.json"
    return CocoReader(root / folder.format(split), annotations)


@pytest.fixture(scope="module")
def tiny_coco(tmp_path_factory):
    out = tmp_path_factory.mktemp("tiny_coco")
    for split in ("train2017", "val2017"):
        pack(coco("tiny_coco", split), out / split, samples_per_shard=10)
    return [out / "train2017", out / "val2017"]


def test_each_split_of_tiny_coco_is_clean(tiny_coco):
    for folder in tiny_coco:
        assert found_in(verify([folder], 2)) == []


def test_the_splits_of_tiny_coco_do_not_show_the_same_classes(tiny_coco):
    report = verify(tiny_coco, 2)
    assert found_in(report) == [("classes_without_objects", "", "", "")] * 2
    assert report.is_clean
    train, val = report.sets
    assert (train["objects"], val["objects"]) == (253, 177)
    assert (train["crowd"], val["crowd"]) == (3, 3)
    assert (train["masks"], val["masks"]) == (
        {"polygons": 250, "rle": 3},
        {"polygons": 174, "rle": 3},
    )
    assert (train["empty_images"], val["empty_images"]) == (0, 1)


def test_nuclei_are_clean(tmp_path):
    for split in ("val", "test"):
        pack(coco("nuclei_coco", split), tmp_path / split)
    report = verify([tmp_path / "val", tmp_path / "test"], 2)
    assert found_in(report) == []
    assert [one["objects"] for one in report.sets] == [765, 709]


def test_bccd_is_clean_without_its_two_bad_boxes(tmp_path):
    root = SHARED / "data/bccd_voc"
    for split in ("val", "test"):
        pack(VocReader(root, [split], None), tmp_path / split, on_error="drop")
    report = verify([tmp_path / "val", tmp_path / "test"], 2)
    assert found_in(report) == []
    assert [one["images"] for one in report.sets] == [87, 72]
    names = (root / "ImageSets/Main/test.txt").read_text().split()
    texts = [(root / f"Annotations/{name}.xml").read_text() for name in names]
    cells = sum(text.count("<name>RBC</name>") for text in texts)
    assert report.sets[1]["classes"]["RBC"]["objects"] == cells
