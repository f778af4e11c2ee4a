"""Street scenes drawn at random: instance ids as Cityscapes stores them, and predicted masks."""

from typing import Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_mask

from lit_detseg.structures import BoxTarget, Detections, InstanceMasks

# Names and numbers of the 8 classes of Cityscapes that are evaluated as instances.
THINGS = {
    **{"person": 24, "rider": 25, "car": 26, "truck": 27},
    **{"bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33},
}
NUMBERS = tuple(THINGS.values())
VOID = (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)


class Scene(NamedTuple):
    image_id: str
    ids: np.ndarray  # (H, W) uint16 instance ids
    found: list[tuple[np.ndarray, int, float]]  # (H, W) bool mask, label, score

    def detections(self) -> Detections:
        masks = [torch.from_numpy(mask) for mask, _, _ in self.found]
        empty = torch.zeros((0, *self.ids.shape), dtype=torch.bool)
        return Detections(
            boxes=torch.zeros((len(masks), 4)),
            labels=torch.tensor([label for _, label, _ in self.found], dtype=torch.int64),
            scores=torch.tensor([score for _, _, score in self.found], dtype=torch.float32),
            masks=torch.stack(masks) if masks else empty,
        )

    def target(self) -> BoxTarget:
        numbers = [n for n in np.unique(self.ids).tolist() if class_of(n) in NUMBERS]
        rles = [rle(self.ids == number) for number in numbers]
        boxes = torch.zeros((len(numbers), 4), dtype=torch.float64)
        labels = [NUMBERS.index(class_of(number)) for number in numbers]
        return BoxTarget(
            boxes=boxes.float(),
            labels=torch.tensor(labels, dtype=torch.int64),
            image_id=self.image_id,
            original_size=self.ids.shape,
            is_crowd=torch.tensor([number < 1000 for number in numbers], dtype=torch.bool),
            is_difficult=torch.zeros(len(numbers), dtype=torch.bool),
            original_boxes=boxes,
            areas=torch.zeros(len(numbers), dtype=torch.float64),  # must not matter
            masks=instance_masks(rles, self.ids.shape),
            void=rle(np.isin(self.ids, VOID)),
        )


def class_of(number):
    return number if number < 1000 else number // 1000


def rle(mask):
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


def instance_masks(rles: list[dict[str, Any]], size) -> InstanceMasks:
    """Masks of RLEs alone, in place."""
    count = len(rles)
    return InstanceMasks(
        points=np.zeros((0, 2)),
        polygon_points=np.zeros(0, np.int64),
        polygons=np.zeros(count, np.int64),
        counts=np.frombuffer(b"".join(one["counts"] for one in rles), np.uint8),
        count_bytes=np.array([len(one["counts"]) for one in rles], np.int64),
        sizes=np.array([size] * count, np.int64).reshape(-1, 2),
        placements=np.tile([1.0, 1.0, 0.0, 0.0], (count, 1)),
        windows=np.tile([0.0, 0.0, size[1], size[0]], (count, 1)),
    )


def update(metric, scenes):
    metric.update([scene.detections() for scene in scenes], [scene.target() for scene in scenes])


def random_scene(generator, image_id, height=60, width=90, classes=NUMBERS):
    """A scene with groups, void, small things, single caravans, hits, misses and duplicates."""
    ids = np.full((height, width), generator.choice([7, 11, 21, 0]), np.uint16)
    counts = dict.fromkeys((*NUMBERS, 29), 0)
    for _ in range(generator.integers(0, 14)):
        number = int(generator.choice([*classes, *classes, 29, 0, 4, 7]))
        if number in counts and generator.random() < 0.8:
            counts[number] += 1
            number = number * 1000 + counts[number] - 1
        ids[_rectangle(generator, height, width)] = number
    found = []
    for number in np.unique(ids).tolist():
        for _ in range(generator.integers(0, 4)):
            shifted = np.roll(ids == number, generator.integers(-3, 4, 2), axis=(0, 1))
            label = NUMBERS.index(class_of(number)) if class_of(number) in NUMBERS else None
            if label is None or generator.random() < 0.1:
                label = NUMBERS.index(int(generator.choice(classes)))
            found.append((shifted, label, _score(generator)))
    for _ in range(generator.integers(0, 4)):
        stray = np.zeros(ids.shape, bool)
        if generator.random() < 0.9:  # otherwise it has no pixel
            stray[_rectangle(generator, height, width)] = True
        found.append((stray, NUMBERS.index(int(generator.choice(classes))), _score(generator)))
    return Scene(image_id, ids, found)


def random_scenes(seed, count, prefix="frame", **options):
    generator = np.random.default_rng(seed)
    return [random_scene(generator, f"{prefix}_{n:04}", **options) for n in range(count)]


def _rectangle(generator, height, width):
    """Sides of 3 to 30 pixels: areas on both sides of 100, and exactly there."""
    tall, wide = generator.choice([3, 5, 10, 10, 15, 20, 30], 2)
    y, x = generator.integers(0, height - tall + 1), generator.integers(0, width - wide + 1)
    return slice(y, y + tall), slice(x, x + wide)


def _score(generator):
    return float(
        np.float32(generator.integers(1, 9) / 8 if generator.random() < 0.5 else generator.random())
    )
