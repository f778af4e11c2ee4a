"""COCO's own fake results of 100 images of val2014: the official numbers of masks."""

import json
from collections import defaultdict

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from lit_detseg.metrics.coco_mask_ap import CocoMaskAveragePrecision
from lit_detseg.ops.masks import pack_masks
from lit_detseg.structures import BoxTarget, Detections
from tests.conftest import SHARED
from tests.metrics.drawn_coco import TWELVE

FOLDER = SHARED / "data/eval_fixtures/coco_val2014_100"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())["segm"]


def target_of(image, objects, labels):
    size, count = (image["height"], image["width"]), len(objects)
    x, y, width, height = np.array([o["bbox"] for o in objects]).reshape(-1, 4).T
    boxes = torch.from_numpy(np.stack([x, y, x + width, y + height], axis=1))
    rows = (
        np.tile(np.array(row), (count, 1)) for row in ([1.0, 1, 0, 0], [0.0, 0, size[1], size[0]])
    )
    masks = [one["segmentation"] for one in objects]
    masks = [one if isinstance(one, list) else compressed(one, size) for one in masks]
    return BoxTarget(
        boxes=boxes.float(),
        labels=torch.tensor([labels[one["category_id"]] for one in objects], dtype=torch.int64),
        image_id=f"{image['id']:012}",
        original_size=size,
        is_crowd=torch.tensor([bool(one["iscrowd"]) for one in objects], dtype=torch.bool),
        is_difficult=torch.zeros(count, dtype=torch.bool),
        original_boxes=boxes,
        areas=torch.tensor([one["area"] for one in objects], dtype=torch.float64),
        masks=pack_masks(masks, [size] * count, *rows),
    )


def compressed(segmentation, size):
    return coco_mask.frPyObjects(segmentation, *size)


def detections_of(image, rows, labels):
    masks = [coco_mask.decode(row["segmentation"]) for row in rows]
    nothing = np.zeros((0, image["height"], image["width"]), np.uint8)
    return Detections(
        boxes=torch.zeros(len(rows), 4),
        labels=torch.tensor([labels[row["category_id"]] for row in rows], dtype=torch.int64),
        scores=torch.tensor([row["score"] for row in rows], dtype=torch.float64),
        masks=torch.from_numpy(np.stack(masks) if masks else nothing).bool(),
    )


def test_the_official_fake_results():
    truth = json.loads((FOLDER / "instances_val2014_100.json").read_text())
    results = json.loads((FOLDER / "instances_val2014_fakesegm100_results.json").read_text())
    labels = {one["id"]: label for label, one in enumerate(truth["categories"])}
    objects, found = defaultdict(list), defaultdict(list)
    for one in truth["annotations"]:
        objects[one["image_id"]].append(one)
    for one in results:
        found[one["image_id"]].append(one)
    metric = CocoMaskAveragePrecision()
    for image in truth["images"]:
        target = target_of(image, objects[image["id"]], labels)
        metric.update([detections_of(image, found[image["id"]], labels)], [target])

    scores = metric.compute()

    assert metric.num_images == 100
    assert scores["map"].item() == pytest.approx(0.320, abs=5e-4)  # as published
    assert [scores[key].item() for key in TWELVE] == pytest.approx(
        list(EXPECTED.values()), rel=0, abs=1e-12
    )
