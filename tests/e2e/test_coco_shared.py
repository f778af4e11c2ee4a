"""Real COCO annotations, through shards into the metric: the numbers of the original JSON file."""

import json

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lit_detseg.data import CocoDataModule
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.coco import CocoReader
from lit_detseg.metrics.coco_ap import CocoAveragePrecision
from lit_detseg.metrics.coco_mask_ap import CocoMaskAveragePrecision
from lit_detseg.metrics.instance_masks import true_masks
from lit_detseg.runs.results_files.coco import coco_rows
from lit_detseg.structures import Detections
from tests.conftest import SHARED

FOLDER = SHARED / "data/tiny_coco"
ANNOTATIONS = FOLDER / "annotations/instances_val2017.json"

# pycocotools' twelve numbers, in its order.
NAMES = (
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("coco") / "val"
    pack(CocoReader(FOLDER / "val2017", ANNOTATIONS), folder)
    return CocoDataModule(val=str(folder), eval_batch_size=4, num_workers=0, masks=True)


def detections_near(target, generator):
    """The annotated objects, moved a little, some under a wrong label, scored at random."""
    count = len(target.labels)
    moved = torch.randn(count, 4, generator=generator, dtype=torch.float64) * 6
    wrong = torch.rand(count, generator=generator) < 0.2
    labels = torch.where(wrong, (target.labels + 1) % 80, target.labels)
    scores, order = torch.rand(count, generator=generator).sort(descending=True)
    boxes = (target.original_boxes + moved)[order]
    boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 1)
    shifts = torch.randint(-4, 5, (count, 2), generator=generator)[order].tolist()
    masks = [coco_mask.decode(rle) for rle in true_masks(target)[order.numpy()]]
    moved = [np.roll(mask, shift, axis=(0, 1)) for mask, shift in zip(masks, shifts, strict=True)]
    pixels = np.stack(moved) if moved else np.zeros((0, *target.original_size), np.uint8)
    return Detections(boxes, labels[order], scores, torch.from_numpy(pixels).bool())


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_crowds_areas_and_ids_with_holes_survive_the_journey(data, tmp_path, kind):
    metric, rows = (CocoAveragePrecision, CocoMaskAveragePrecision)[kind == "segm"](), []
    metric.class_names = data.label_map.names
    generator = torch.Generator().manual_seed(0)
    for packed in data.val_dataloader():
        targets = data.on_after_batch_transfer(packed, 0).targets
        found = [detections_near(target, generator) for target in targets]
        metric.update(found, targets)
        for one, target in zip(found, targets, strict=True):
            rows += coco_rows(one, target, data.label_map)
    # With both, pycocotools would take a box's area for that of its mask.
    other = "segmentation" if kind == "bbox" else "bbox"
    rows = [{key: value for key, value in row.items() if key != other} for row in rows]
    results = tmp_path / "results.json"
    results.write_text(json.dumps(rows))

    ours = metric.compute()
    truth = COCO(ANNOTATIONS)
    reference = COCOeval(truth, truth.loadRes(str(results)), kind)
    reference.evaluate()
    reference.accumulate()
    reference.summarize()

    assert metric.num_images == 25
    assert 0.05 < ours["map"] < 0.95
    numbers = dict(zip(NAMES, reference.stats.tolist(), strict=True))
    assert {name: float(ours[name]) for name in NAMES} == pytest.approx(numbers, abs=1e-12)
    person = reference.eval["precision"][:, :, 0, 0, -1].mean()  # category 1 is the first
    assert float(ours["map_person"]) == pytest.approx(person, abs=1e-12)
