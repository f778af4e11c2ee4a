"""Pascal VOC's average precision: which detection is right, and the two areas under its curve.

Source: the VOC development kit as ported to Python in py-faster-rcnn (`voc_eval`). Where the
MATLAB kit asks for an overlap of at least 0.5, the port, and with it most published numbers, asks
for more than 0.5; we follow the port.

The kit counts pixels, corners included: width x2 - x1 + 1. Our boxes are continuous, from x1 - 1
to x2 in the kit's 1-based numbers, so their plain IoU is the kit's.
"""

from typing import Literal

import numpy as np

from lit_detseg.metrics.pairs import (
    Found,
    Matches,
    Sought,
    Truth,
    best_first,
    box_iou,
    pairs_of_groups,
    take,
)

Interpolation = Literal["11_point", "area"]


def match_voc(found: Found, truth: Truth, iou_threshold: float = 0.5) -> tuple[Matches, Sought]:
    """Judge the detections of some images.

    A detection looks at the object of its class with the largest IoU, whether it was found before
    or not. It is right when that IoU is above the threshold and nobody was there before it, and
    is not counted at all when the object is difficult.

    Args:
        found: detections; equal scores of one image and class are ranked as they stand here.
        truth: objects; `is_crowd` has no meaning in VOC and is not read.
        iou_threshold: in (0, 1).
    """
    found, rank = best_first(found)
    without_crowds = truth._replace(is_crowd=np.zeros_like(truth.is_crowd))
    detection, target, iou = _best_pairs(found, without_crowds)
    overlaps = iou > iou_threshold
    detection, target = detection[overlaps], target[overlaps]
    is_difficult = truth.is_difficult[target]
    is_ignored, is_match = np.zeros((2, len(rank), 1), dtype=bool)
    is_ignored[detection[is_difficult]] = True
    detection, target = detection[~is_difficult], target[~is_difficult]
    _, first = np.unique(target, return_index=True)  # detections stand best first
    is_match[detection[first]] = True
    matches = Matches(
        image=found.image.astype(np.int32),
        label=found.label.astype(np.int32),
        score=found.score,
        rank=rank.astype(np.int32),
        is_match=np.packbits(is_match, axis=1),
        is_ignored=np.packbits(is_ignored, axis=1),
    )
    counts = ~truth.is_difficult[:, None]
    return matches, Sought(truth.image.astype(np.int32), truth.label.astype(np.int32), counts)


def voc_average_precisions(
    matches: Matches, sought: Sought, num_classes: int, interpolation: Interpolation
) -> list[float]:
    """AP of each class; NaN for a class without an object that counts."""
    total = np.bincount(sought.label[sought.counts[:, 0]], minlength=num_classes)
    matches = take(matches, matches.is_ignored[:, 0] == 0)
    matches = take(
        matches, np.lexsort((matches.rank, matches.image, -matches.score, matches.label))
    )
    is_right = matches.is_match[:, 0] > 0
    bounds = np.searchsorted(matches.label, np.arange(num_classes + 1))
    return [
        average_precision(is_right[bounds[label] : bounds[label + 1]], total[label], interpolation)
        for label in range(num_classes)
    ]


def average_precision(is_right: np.ndarray, total: int, interpolation: Interpolation) -> float:
    """AP of detections that stand best first.

    >>> average_precision(np.array([True, False, True]), total=2, interpolation="area")
    0.8333333333333333

    Args:
        is_right: (D,) bool, of the detections that count.
        total: number of objects to be found; none gives NaN.
        interpolation: "11_point" of VOC 2007 (the mean of the best precisions at recalls of at
            least 0, 0.1, ..., 1) or "area" of VOC 2010 and later (under the monotone envelope).
    """
    if total == 0:
        return float("nan")
    hits = np.cumsum(is_right, dtype=np.float64)
    recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
    if interpolation == "11_point":
        reached = (precision[recall >= least] for least in np.arange(0.0, 1.1, 0.1))
        return float(sum(part.max(initial=0.0) / 11 for part in reached))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _best_pairs(found: Found, truth: Truth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each detection that has any object to compare with, the pair of largest IoU."""
    detection, target = pairs_of_groups(found, truth)
    iou = box_iou(found, truth, detection, target)
    order = np.lexsort((target, -iou, detection))
    best = order[np.flatnonzero(np.diff(detection[order], prepend=-1))]
    return detection[best], target[best], iou[best]
