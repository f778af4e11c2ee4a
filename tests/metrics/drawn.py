"""Images drawn by Hypothesis or at random, and what pycocotools says about them."""

import contextlib
import io
from typing import NamedTuple

import numpy as np
import torch
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lit_detseg.structures import BoxTarget, Detections

NUM_CLASSES = 3


class DrawnImage(NamedTuple):
    image_id: str
    found: list[tuple[list[float], int, float]]  # XYXY, label, score
    objects: list[tuple[list[float], int, float, bool, bool]]  # XYXY, label, area, crowd, difficult

    def detections(self) -> Detections:
        boxes, labels, scores = zip(*self.found, strict=True) if self.found else ([], [], [])
        return Detections(
            torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
            torch.tensor(labels, dtype=torch.int64),
            torch.tensor(scores, dtype=torch.float32),
        )

    def target(self) -> BoxTarget:
        columns = zip(*self.objects, strict=True) if self.objects else ([], [], [], [], [])
        boxes, labels, areas, crowd, difficult = columns
        boxes = torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4)
        return BoxTarget(
            boxes=boxes.float(),
            labels=torch.tensor(labels, dtype=torch.int64),
            image_id=self.image_id,
            original_size=(480, 640),
            is_crowd=torch.tensor(crowd, dtype=torch.bool),
            is_difficult=torch.tensor(difficult, dtype=torch.bool),
            original_boxes=boxes,
            areas=torch.tensor(areas, dtype=torch.float64),
        )


def update(metric, images):
    metric.update([image.detections() for image in images], [image.target() for image in images])


@st.composite
def boxes(draw):
    """Corners on a coarse grid: equal IoUs, and IoUs right at a threshold, are frequent."""
    scale = draw(st.sampled_from([1, 8, 32]))
    x, y = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    return [float(scale * side) for side in (x, y, x + width, y + height)]


labels = st.integers(0, NUM_CLASSES - 1)
scores = st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0])  # few: many ties
areas = st.sampled_from([1.0, 32.0**2 - 1, 32.0**2, 5000.0, 96.0**2, 96.0**2 + 1])
found = st.lists(st.tuples(boxes(), labels, scores), max_size=8)
objects = st.lists(st.tuples(boxes(), labels, areas, st.booleans(), st.booleans()), max_size=6)
image_ids = st.text("ab09_", min_size=1, max_size=4)
image_sets = st.lists(
    st.builds(DrawnImage, image_ids, found, objects),
    max_size=6,
    unique_by=lambda image: image.image_id,
)


def random_images(seed, count, most_found=60, most_objects=8, prefix="image"):
    """Realistic boxes: detections are shifted objects and strays; crowds and equal scores occur."""
    generator = np.random.default_rng(seed)
    return [
        _random_image(generator, f"{prefix}_{number:04}", most_found, most_objects)
        for number in range(count)
    ]


def _random_image(generator, image_id, most_found, most_objects):
    truths = [_random_box(generator) for _ in range(generator.integers(most_objects))]
    shifted = [
        (box + generator.normal(size=4) * 3, label) for box, label in truths for _ in range(2)
    ]
    strays = [_random_box(generator) for _ in range(most_found)]
    some = (shifted + strays)[: generator.integers(most_found + 1)]
    return DrawnImage(
        image_id,
        [(box.tolist(), label, round(generator.random(), 2)) for box, label in some],
        [
            (
                box.tolist(),
                label,
                generator.random() * 1e4,
                generator.random() < 0.1,
                generator.random() < 0.2,
            )
            for box, label in truths
        ],
    )


def _random_box(generator):
    size = generator.choice([30, 90, 300])
    corner, extent = generator.random(2) * size, generator.random(2) * size + 4
    return np.concatenate([corner, corner + extent]), int(generator.integers(NUM_CLASSES))


def xywh(box):
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def coco_evaluation(images, num_classes=NUM_CLASSES):
    """pycocotools' evaluation; images are numbered in the sorted order of their ids."""
    images = sorted(images, key=lambda image: image.image_id)
    annotations = [
        {
            "image_id": number,
            "category_id": label,
            "bbox": xywh(box),
            "area": area,
            "iscrowd": int(crowd),
        }
        for number, image in enumerate(images)
        for box, label, area, crowd, _ in image.objects
    ]
    results = [
        {"image_id": number, "category_id": label, "bbox": xywh(box), "score": np.float32(score)}
        for number, image in enumerate(images)
        for box, label, score in image.found
    ]
    coco, no_results = COCO(), COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        coco.dataset = {
            "images": [{"id": number} for number in range(len(images))],
            "categories": [{"id": label} for label in range(num_classes)],
            "annotations": [{"id": i, **one} for i, one in enumerate(annotations, start=1)],
        }
        coco.createIndex()
        found = coco.loadRes(results) if results else no_results
        evaluation = COCOeval(coco, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation
