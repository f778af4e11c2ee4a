"""How many of the objects proposals find: the recall, by the number of proposals of an image.

An object is found at an IoU threshold by the first n proposals when one of them overlaps it that
much; a proposal may find several objects. Crowds and objects that are marked difficult do not
count.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lit_detseg.data.packing.workers import Progress
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.shards import ShardReader
from lit_detseg.structures import LabelMap

THRESHOLDS = (0.5, 0.7)
NUMBERS = (10, 20, 50, 100, 200, 500, 1000, 2000)  # and all
ALL = "all"


@dataclass(frozen=True)
class Recall:
    """The counts behind the recall, class by class."""

    label_map: LabelMap
    found: np.ndarray  # (C, T, N) int64, by class, threshold and number of proposals; all come last
    objects: np.ndarray  # (C,) int64, of each class
    proposals: np.ndarray  # (S,) int64, of each image

    @property
    def numbers(self) -> tuple[int | str, ...]:
        """What the last axis of `found` stands for."""
        return (*NUMBERS, ALL)

    def overall(self, threshold: float) -> np.ndarray:
        """The fraction of all objects that are found, (N,) float64; NaN where there are none."""
        found = self.found[:, THRESHOLDS.index(threshold)].sum(axis=0)
        return _fraction(found, self.objects.sum())

    def of_class(self, label: int, threshold: float) -> np.ndarray:
        """The same for one class."""
        return _fraction(self.found[label, THRESHOLDS.index(threshold)], self.objects[label])

    def to_json(self) -> dict[str, Any]:
        """For programs: recall by threshold, of all objects and by class; null without objects."""
        names = self.label_map.names
        return {
            "numbers": list(self.numbers),
            "objects": int(self.objects.sum()),
            "objects_of_class": dict(zip(names, self.objects.tolist(), strict=True)),
            "recall": {
                str(threshold): {
                    "overall": _to_json(self.overall(threshold)),
                    "classes": {
                        name: _to_json(self.of_class(label, threshold))
                        for label, name in enumerate(names)
                    },
                }
                for threshold in THRESHOLDS
            },
        }


def measure_recall(
    reader: ShardReader, proposals: ProposalReader, progress: Progress | None = None
) -> Recall:
    """Compare the proposals of all images with what is annotated.

    Args:
        reader: of the images.
        proposals: of the same images.
        progress: called as images are done.

    Raises:
        UserError: when a record or a proposal cannot be read.
    """
    classes = len(reader.label_map)
    found = np.zeros((classes, len(THRESHOLDS), len(NUMBERS) + 1), dtype=np.int64)
    objects = np.zeros(classes, dtype=np.int64)
    thresholds = np.array(THRESHOLDS)[:, None]
    for sample in range(len(reader)):
        items = [
            item
            for item in reader.record(sample, masks=False).objects
            if not item.is_crowd and not item.is_difficult
        ]
        boxes = np.array([item.box for item in items], dtype=np.float64).reshape(-1, 4)
        best = best_iou(boxes, proposals.boxes(sample))
        for item, of_item in zip(items, best, strict=True):
            found[item.label] += of_item >= thresholds
            objects[item.label] += 1
        if progress is not None:
            progress(sample + 1, len(reader))
    return Recall(reader.label_map, found, objects, proposals.counts)


def best_iou(objects: np.ndarray, proposals: np.ndarray) -> np.ndarray:
    """How well the first proposals cover each object.

    Args:
        objects: (N, 4) XYXY.
        proposals: (P, 4) XYXY, the most promising first.

    Returns:
        (N, K) float64: the largest IoU of each object with the first `NUMBERS[k]` proposals, in the
        last column with all of them; 0 where there are none.
    """
    iou = _iou(objects, proposals.astype(np.float64))
    parts = np.split(iou, NUMBERS, axis=1)
    best = np.stack([part.max(axis=1, initial=0.0) for part in parts], axis=1)
    return np.maximum.accumulate(best, axis=1)


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each with each, (N, P)."""
    corner = np.maximum(boxes[:, None, :2], others[:, :2])
    shared = (np.minimum(boxes[:, None, 2:], others[:, 2:]) - corner).clip(0).prod(axis=2)
    area, other_area = ((of[:, 2:] - of[:, :2]).prod(axis=1) for of in (boxes, others))
    union = area[:, None] + other_area - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _fraction(found: np.ndarray, objects: np.integer) -> np.ndarray:
    return found / objects if objects else np.full(found.shape, np.nan)


def _to_json(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]
