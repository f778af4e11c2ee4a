"""Which predicted instance is right: Cityscapes' rules, for the masks of one image.

Source: cityscapesScripts' `evalInstanceLevelSemanticLabeling`. A prediction and an object of one
class match when their IoU is above (not at) the threshold. Objects are disjoint, as pixels of an
instanceIds image are, so that above 0.5 a prediction matches one object at most; of several
predictions that match one object the best score is right and the others are wrong. Groups and
objects below 100 pixels are not sought, and what matches them is not counted. What matches nothing
is wrong, unless more than the threshold's share of its pixels lies in void, in groups or in small
objects of its class; a group that is small as well is counted twice there, as the script does.
"""

from typing import NamedTuple

import numpy as np

from lit_detseg.metrics.pairs import Found, Matches, Sought, Truth, best_first, take

IOU_THRESHOLDS = np.arange(0.5, 1.0, 0.05)  # as the script writes them
SMALLEST_AREA = 100  # pixels
VOID = -1  # label of the row of `Truth` that holds the pixels that count for nothing


class Overlaps(NamedTuple):
    """How the predictions of an image lie over its objects."""

    iou: np.ndarray  # (D,) with the object of the same class that has the largest; 0 without one
    best: np.ndarray  # (D,) row of that object, -1 without one
    ignorable: np.ndarray  # (D,) share of pixels in void, groups and small objects


def match_cityscapes(found: Found, truth: Truth) -> tuple[Matches, Sought]:
    """Judge the predictions of one image.

    Args:
        found: predictions with at least one pixel; `shape` their masks, `area` their pixels.
        truth: objects of any size, `shape` their masks, `area` their pixels, groups as crowds; a
            row of label `VOID` holds the pixels that count for nothing. `is_difficult` has no
            meaning here.

    Returns:
        What became of the predictions at each of `IOU_THRESHOLDS`, and the objects to be found.
    """
    found, rank = best_first(found)
    counts = ~truth.is_crowd & (truth.area >= SMALLEST_AREA)
    overlaps = _overlaps(found, truth)
    matches = overlaps.iou[:, None] > IOU_THRESHOLDS  # (D, T), with whatever kind of object
    is_sought = np.append(counts, False)[overlaps.best]  # -1, no object: the last entry
    is_match = _first_of_each(matches & is_sought[:, None], overlaps.best)
    is_ignored = np.where(
        matches, ~is_sought[:, None], overlaps.ignorable[:, None] > IOU_THRESHOLDS
    )
    is_object = truth.label != VOID
    return (
        Matches(
            image=found.image.astype(np.int32),
            label=found.label.astype(np.int32),
            score=found.score,
            rank=rank.astype(np.int32),
            is_match=np.packbits(is_match, axis=1),
            is_ignored=np.packbits(is_ignored, axis=1),
        ),
        Sought(
            image=truth.image[is_object].astype(np.int32),
            label=truth.label[is_object].astype(np.int32),
            counts=counts[is_object, None],
        ),
    )


def cityscapes_average_precisions(matches: Matches, sought: Sought, num_classes: int) -> np.ndarray:
    """(C, T) AP of each class at each threshold; NaN for a class without an object to be found."""
    total = np.bincount(sought.label[sought.counts[:, 0]], minlength=num_classes)
    result = np.full((num_classes, len(IOU_THRESHOLDS)), np.nan)
    for label in np.flatnonzero(total):
        of_class = take(matches, matches.label == label)
        is_match, is_ignored = _unpacked(of_class.is_match), _unpacked(of_class.is_ignored)
        for threshold in range(len(IOU_THRESHOLDS)):
            stays = ~is_ignored[:, threshold]
            result[label, threshold] = average_precision(
                of_class.score[stays], is_match[stays, threshold], total[label]
            )
    return result


def average_precision(scores: np.ndarray, is_right: np.ndarray, total: int) -> float:
    """AP as Cityscapes integrates it, without an envelope.

    The points of the curve are those at each different score, and (recall 0, precision 1). Each is
    as wide as half the way from its one neighbour to the other.

    >>> average_precision(np.array([0.9, 0.8]), np.array([True, False]), total=2)
    0.5

    Args:
        scores: (D,) of the predictions that count, in any order.
        is_right: (D,) bool.
        total: number of objects to be found, at least 1.
    """
    order = np.argsort(scores)
    scores, is_right = scores[order], is_right[order]
    _, first = np.unique(scores, return_index=True)
    right_above = is_right.sum() - np.cumsum(is_right) + is_right  # of those from here on
    recall = np.append(right_above[first] / total, 0.0)
    precision = np.append(right_above[first] / (len(scores) - first), 1.0)
    padded = np.concatenate([recall[:1], recall, [0.0]])
    return float(np.dot(precision, (padded[:-2] - padded[2:]) / 2))


def _overlaps(found: Found, truth: Truth) -> Overlaps:
    from pycocotools import mask as coco_mask

    num_found, num_true = len(found.label), len(truth.label)
    if not num_found or not num_true:
        nothing = np.zeros(num_found)
        return Overlaps(nothing, np.full(num_found, -1), nothing)
    # Taken for crowds, IoU is the share of the prediction's pixels: whole numbers can be restored.
    share = coco_mask.iou(list(found.shape), list(truth.shape), np.ones(num_true, np.uint8))
    common = np.rint(share * found.area[:, None])  # (D, N) pixels
    same_class = found.label[:, None] == truth.label
    iou = np.where(same_class, common / (found.area[:, None] + truth.area - common), 0.0)
    best = iou.argmax(axis=1)
    ignorable = (
        common[:, truth.label == VOID].sum(axis=1)
        + (common * (same_class & truth.is_crowd)).sum(axis=1)
        + (common * (same_class & (truth.area < SMALLEST_AREA))).sum(axis=1)
    )
    best_iou = iou[np.arange(num_found), best]
    return Overlaps(best_iou, np.where(best_iou > 0, best, -1), ignorable / found.area)


def _first_of_each(matches: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(D, T) of the matches, best first, the first of each object."""
    result = np.zeros_like(matches)
    for threshold, rows in enumerate(matches.T):
        matching = np.flatnonzero(rows)
        _, first = np.unique(target[matching], return_index=True)
        result[matching[first], threshold] = True
    return result


def _unpacked(bits: np.ndarray) -> np.ndarray:
    """(D, bytes) packed bits -> (D, T) bool."""
    return np.unpackbits(bits, axis=1, count=len(IOU_THRESHOLDS)).astype(bool)
