"""Real data sets come through whole; the counts are those of their READMEs."""

import json

import pytest

from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.data.readers.voc import VOC_CLASSES, VocReader
from lit_detseg.data.records import Record
from lit_detseg.errors import UserError
from tests.conftest import SHARED

BCCD = SHARED / "data/bccd_voc"
SPLITS = {"train": 205, "val": 87, "test": 72}


def records(folder):
    index = ShardIndex.read(folder)
    for number in range(len(index)):
        with (folder / index.shards[index.shard_of[number]].name).open("rb") as tar:
            tar.seek(index.record.offset[number])
            yield Record.from_json(json.loads(tar.read(index.record.size[number])))


def objects(folder):
    return [item for record in records(folder) for item in record.objects]


def test_bccd_loses_exactly_its_two_zero_size_boxes(tmp_path):
    index = pack(VocReader(BCCD, list(SPLITS)), tmp_path / "out", on_error="drop")

    assert len(index) == 364
    assert index.report["dropped"] == {"zero_size_box": 2}
    assert index.report["objects_read"] == 4888
    totals = [sum(counts.get(label, 0) for counts in index.class_counts) for label in range(3)]
    assert dict(zip(index.label_map.names, totals, strict=True)) == {
        "Platelets": 361,
        "RBC": 4155 - 2,
        "WBC": 372,
    }


def test_bccd_is_refused_with_both_rows_named(tmp_path):
    with pytest.raises(UserError) as error:
        pack(VocReader(BCCD, list(SPLITS)), tmp_path / "out")
    lines = str(error.value).splitlines()[1:3]
    assert "BloodImage_00338.xml, object 13 (RBC): zero size box: 504, 337, 504, 337" in lines[0]
    assert "BloodImage_00343.xml, object 4 (RBC): zero size box: 181, 329, 181, 329" in lines[1]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("split", SPLITS)
def test_bccd_splits_agree_on_the_classes(split):
    reader = VocReader(BCCD, [split])
    assert len(reader) == SPLITS[split]
    assert reader.label_map.names == ("Platelets", "RBC", "WBC")


def coco_index(name, split, images, out):
    folder = SHARED / "data" / name
    return pack(CocoReader(folder / images, folder / f"annotations/instances_{split}.json"), out)


@pytest.mark.parametrize(
    ("split", "num_objects", "num_empty"), [("train2017", 253, None), ("val2017", 177, 1)]
)
def test_tiny_coco(tmp_path, split, num_objects, num_empty):
    index = coco_index("tiny_coco", split, split, tmp_path / "out")

    stored = objects(tmp_path / "out")

    assert (len(index), len(stored), index.report["dropped"]) == (25, num_objects, {})
    assert sum(item.is_crowd for item in stored) == 3
    assert all(isinstance(item.mask["counts"], str) for item in stored if item.is_crowd)
    assert any(len(item.mask) > 1 for item in stored if not item.is_crowd)
    assert len(index.label_map) == 80
    assert index.label_map.source_ids[-1] == 90
    if num_empty is not None:
        assert sum(not counts for counts in index.class_counts) == num_empty


@pytest.mark.parametrize(
    ("split", "num_images", "num_objects"), [("train", 117, 3190), ("val", 25, 765)]
)
def test_nuclei(tmp_path, split, num_images, num_objects):
    index = coco_index("nuclei_coco", split, split, tmp_path / "out")

    stored = objects(tmp_path / "out")

    assert (len(index), len(stored)) == (num_images, num_objects)
    assert all(item.mask["size"] == [256, 256] and not item.is_crowd for item in stored)
    assert {record.height for record in records(tmp_path / "out")} == {256}


def test_voc_masks_sample(tmp_path):
    root = SHARED / "data/eval_fixtures/voc_masks_sample"

    index = pack(VocReader(root, ["Segmentation/train"]), tmp_path / "out")

    assert index.keys == ("2011_000003", "2011_000006", "2011_000025")
    assert index.label_map.names == VOC_CLASSES
    first = next(records(tmp_path / "out")).objects
    # xmin 191.0, ymin 107.36900369003689, xmax 313.0, ymax 329.36900369003695 in the file
    assert first[0].box == pytest.approx((190, 106.36900369, 313, 329.36900369))
    assert len(first) == 2
