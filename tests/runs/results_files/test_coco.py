"""COCO's results file: row by row by hand, and as pycocotools reads it."""

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from lit_detseg.runs.results_files.coco import CocoResults, coco_rows
from lit_detseg.structures import LabelMap
from tests.runs.results_files.written import LABEL_MAP, SIZE, detections_of, target_of, write

ONE = detections_of(([1.5, 2, 11.5, 7], 2, 0.5))


def test_a_row_by_hand():
    (row,) = coco_rows(ONE, target_of("image_7", 139), LABEL_MAP)
    assert row == {
        "image_id": 139,
        "category_id": 26,
        "bbox": [1.5, 2, 10, 5],
        "score": 0.5,
    }


@pytest.mark.parametrize(
    ("image_id", "source_id", "expected"),
    [("000000000139", None, 139), ("img-a", None, "img-a"), ("img-a", "img.a", "img.a")],
)
def test_images_are_called_as_the_data_set_calls_them(image_id, source_id, expected):
    (row,) = coco_rows(ONE, target_of(image_id, source_id), LABEL_MAP)
    assert row["image_id"] == expected


@pytest.mark.parametrize("label_map", [None, LabelMap(("person", "light", "car"))])
def test_without_numbers_of_the_data_set_a_class_is_its_label(label_map):
    assert coco_rows(ONE, target_of("1"), label_map)[0]["category_id"] == 2


def test_masks_come_back_from_ascii_run_lengths():
    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(2, *SIZE, generator=generator) < 0.5
    found = detections_of(([0, 0, 8, 8], 0, 0.5), ([0, 0, 9, 9], 1, 0.25), masks=masks)
    rows = json.loads(json.dumps(coco_rows(found, target_of("1"), LABEL_MAP)))
    for row, mask in zip(rows, masks, strict=True):
        decoded = coco_mask.decode(row["segmentation"]).astype(bool)
        np.testing.assert_array_equal(decoded, mask)


def test_the_rows_of_all_ranks_are_one_list(tmp_path):
    path = tmp_path / "deep/coco.json"
    other = detections_of(([0, 0, 4, 4], 0, 0.1), ([0, 0, 5, 5], 1, 0.2))
    first, second = (
        [(ONE, target_of("1")), (detections_of(), target_of("2"))],
        [(other, target_of("3"))],
    )

    counts = write(CocoResults, path, first, [], second)

    assert counts == {"images": 3, "detections": 3}
    expected = coco_rows(ONE, target_of("1"), LABEL_MAP) + coco_rows(
        other, target_of("3"), LABEL_MAP
    )
    assert json.loads(path.read_text()) == expected


def test_nothing_found_is_an_empty_list(tmp_path):
    write(CocoResults, tmp_path / "coco.json", [(detections_of(), target_of("1"))])
    assert json.loads((tmp_path / "coco.json").read_text()) == []
