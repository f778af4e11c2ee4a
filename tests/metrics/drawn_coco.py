"""Images with instance masks drawn at random, and what pycocotools says about them."""

import contextlib
import io
from typing import NamedTuple

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lit_detseg.ops.masks import pack_masks
from lit_detseg.structures import BoxTarget, Detections
from tests.metrics.drawn import xywh
from tests.metrics.drawn_masks import rle

NAMES = ("cat", "dog", "cow")
SIZE = (120, 160)  # height, width: room for large, medium and small ones
TWELVE = [
    *("map", "map_50", "map_75", "map_small", "map_medium", "map_large"),
    *("mar_1", "mar_10", "mar_100", "mar_small", "mar_medium", "mar_large"),
]


class MaskedImage(NamedTuple):
    image_id: str
    found: list[tuple[np.ndarray, list[float], int, float]]  # (H, W) bool, box XYXY, label, score
    # Polygons or RLE, box XYXY, label, area, whether a crowd.
    objects: list[tuple[object, list[float], int, float, bool]]

    def detections(self) -> Detections:
        masks = [torch.from_numpy(mask) for mask, *_ in self.found]
        return Detections(
            boxes=torch.tensor([row[1] for row in self.found], dtype=torch.float64).reshape(-1, 4),
            labels=torch.tensor([row[2] for row in self.found], dtype=torch.int64),
            scores=torch.tensor([row[3] for row in self.found], dtype=torch.float32),
            masks=torch.stack(masks) if masks else torch.zeros(0, *SIZE, dtype=torch.bool),
        )

    def target(self) -> BoxTarget:
        count = len(self.objects)
        boxes = torch.tensor([row[1] for row in self.objects], dtype=torch.float64).reshape(-1, 4)
        rows = (
            np.tile(np.array(row), (count, 1)) for row in ([1.0, 1, 0, 0], [0.0, 0, *SIZE[::-1]])
        )
        return BoxTarget(
            boxes=boxes.float(),
            labels=torch.tensor([row[2] for row in self.objects], dtype=torch.int64),
            image_id=self.image_id,
            original_size=SIZE,
            is_crowd=torch.tensor([row[4] for row in self.objects], dtype=torch.bool),
            is_difficult=torch.zeros(count, dtype=torch.bool),
            original_boxes=boxes,
            areas=torch.tensor([row[3] for row in self.objects], dtype=torch.float64),
            masks=pack_masks([row[0] for row in self.objects], [SIZE] * count, *rows),
        )


def update(metric, images):
    metric.update([image.detections() for image in images], [image.target() for image in images])


def random_masked_images(seed, count, prefix="image"):
    generator = np.random.default_rng(seed)
    return [_random_image(generator, f"{prefix}_{number:04}") for number in range(count)]


def _random_image(generator, image_id):
    objects, found = [], []
    for _ in range(generator.integers(0, 7)):
        x1, y1, x2, y2 = _rectangle(generator)
        label, is_crowd = int(generator.integers(len(NAMES))), generator.random() < 0.15
        mask = _filled([x1, y1, x2, y2])
        polygon = [[float(v) for v in (x1, y1, x2, y1, x2, y2, x1, y2)]]
        annotated = rle(mask) if is_crowd or generator.random() < 0.3 else polygon
        if generator.random() < 0.1:  # an object without a pixel, whatever its area says
            annotated = rle(np.zeros(SIZE, bool))
        area = float(mask.sum()) * generator.choice([1, 1, 0.8])
        objects.append((annotated, [x1, y1, x2, y2], label, area, is_crowd))
        for _ in range(generator.integers(0, 4)):
            moved = np.roll(mask, generator.integers(-4, 5, 2), axis=(0, 1))
            moved &= generator.random(SIZE) < generator.choice([1, 1, 0.8])
            box = np.array([x1, y1, x2, y2]) + generator.normal(size=4) * 2
            found.append((moved, box.tolist(), label, _score(generator)))
    for _ in range(generator.integers(0, 4)):
        stray = _rectangle(generator)
        mask = _filled(stray) & (generator.random() < 0.8)  # otherwise it has no pixel
        label = int(generator.integers(len(NAMES)))
        found.append((mask, [float(v) for v in stray], label, _score(generator)))
    return MaskedImage(image_id, found, objects)


def _rectangle(generator):
    size = generator.integers([8, 8], generator.choice([20, 60, 110]) + 1, 2)
    x, y = (int(generator.integers(0, max(s, 1))) for s in np.array(SIZE[::-1]) - size)
    return [x, y, x + int(size[0]), y + int(size[1])]


def _filled(box):
    x1, y1, x2, y2 = box
    mask = np.zeros(SIZE, dtype=bool)
    mask[y1:y2, x1:x2] = True
    return mask


def _score(generator):
    return round(float(generator.random()), 1)  # few: ties


def pycocotools_evaluation(images, kind):
    """Of `kind` "segm" or "bbox"; images are numbered in the sorted order of their ids."""
    images = sorted(images, key=lambda image: image.image_id)
    truth, found = [], []
    for number, image in enumerate(images):
        for mask, box, label, area, crowd in image.objects:
            one = {"image_id": number, "category_id": label, "area": area, "iscrowd": int(crowd)}
            truth.append({**one, "bbox": xywh(box), "segmentation": mask})
        for mask, box, label, score in image.found:
            one = {"image_id": number, "category_id": label, "score": float(np.float32(score))}
            shape = {"bbox": xywh(box)} if kind == "bbox" else {"segmentation": rle(mask)}
            found.append(one | shape)
    coco = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        coco.dataset = {
            "images": [
                {"id": n, "height": SIZE[0], "width": SIZE[1]} for n, _ in enumerate(images)
            ],
            "categories": [{"id": label} for label, _ in enumerate(NAMES)],
            "annotations": [{"id": i, **one} for i, one in enumerate(truth, start=1)],
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
