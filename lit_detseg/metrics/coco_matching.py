"""Which detection found which object: COCO's rules, for many images at once.

Source: pycocotools' `COCOeval.evaluateImg`. Within one class of one image, detections choose in
the order of falling score, at most 100 of them. Each takes the free object with the largest IoU at
or above the threshold (the later one when equal). An object that does not count is taken only when
no other is left, and makes the detection count neither as right nor as wrong: a crowd, which may
be taken again and again, or an object outside of the range of area. (pycocotools takes an
annotation whose id is 0 for none at all; we do not.)

Only pairs of IoU >= 0.5 are looked at, and the n-th detections of all groups choose together, for
10 IoU thresholds x 4 ranges of area.
"""

import numpy as np

from lit_detseg.metrics.pairs import (
    Found,
    IouOfPairs,
    Matches,
    Sought,
    Truth,
    best_first,
    box_iou,
    pairs_of_groups,
    runs,
    take,
)

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
AREA_RANGES = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])  # pixels, inclusive
MAX_DETECTIONS = 100  # per image and class

SETTINGS = (len(IOU_THRESHOLDS), len(AREA_RANGES))


def match_coco(
    found: Found, truth: Truth, iou_of_pairs: IouOfPairs = box_iou
) -> tuple[Matches, Sought]:
    """Judge the detections of some images.

    Args:
        found: detections; equal scores of one image and class are ranked as they stand here.
        truth: objects; `is_difficult` has no meaning in COCO and is not read.
        iou_of_pairs: `box_iou`, or `mask_iou` when the shapes are masks.

    Returns:
        What became of the detections under (10 IoU thresholds x 4 ranges of area), and the objects
        that count for each range.
    """
    found, rank = best_first(found)
    found, rank = take(found, rank < MAX_DETECTIONS), rank[rank < MAX_DETECTIONS]
    counts = ~truth.is_crowd[:, None] & _in_range(truth.area)
    detection, target = pairs_of_groups(found, truth)
    iou = iou_of_pairs(found, truth, detection, target)
    close = iou >= IOU_THRESHOLDS[0]
    is_match, is_ignored = _choose(
        detection[close], target[close], iou[close], rank, counts, truth.is_crowd
    )
    is_ignored |= ~is_match & ~_in_range(found.area)[:, None, :]
    matches = Matches(
        image=found.image.astype(np.int32),
        label=found.label.astype(np.int32),
        score=found.score,
        rank=rank.astype(np.int32),
        is_match=_packed(is_match),
        is_ignored=_packed(is_ignored),
    )
    return matches, Sought(truth.image.astype(np.int32), truth.label.astype(np.int32), counts)


def unpacked(bits: np.ndarray) -> np.ndarray:
    """(D, bytes) packed bits of `match_coco` -> (D, T, A) bool."""
    num_settings = SETTINGS[0] * SETTINGS[1]
    return np.unpackbits(bits, axis=1, count=num_settings).astype(bool).reshape(-1, *SETTINGS)


def _packed(answers: np.ndarray) -> np.ndarray:
    return np.packbits(answers.reshape(len(answers), SETTINGS[0] * SETTINGS[1]), axis=1)


def _in_range(area: np.ndarray) -> np.ndarray:
    """(N, A) bool: whether each area lies in each range."""
    return (area[:, None] >= AREA_RANGES[:, 0]) & (area[:, None] <= AREA_RANGES[:, 1])


def _choose(
    detection: np.ndarray,
    target: np.ndarray,
    iou: np.ndarray,
    rank: np.ndarray,
    counts: np.ndarray,
    is_crowd: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Let the detections choose their objects, one rank after the other.

    Args:
        detection: (P,) of the pairs that are close enough to match.
        target: (P,) of the same pairs.
        iou: (P,) of the same pairs.
        rank: (D,) of the detections within their groups.
        counts: (N, A) whether an object counts in each range of area.
        is_crowd: (N,) of the objects.

    Returns:
        (D, T, A) bool twice: has an object; has one that does not count.
    """
    is_match = np.zeros((len(rank), *SETTINGS), dtype=bool)
    is_ignored = np.zeros_like(is_match)
    is_taken = np.zeros((len(is_crowd), *SETTINGS), dtype=bool)
    # Within one detection the pair to prefer comes last: largest IoU, then the later object.
    order = np.lexsort((target, iou, detection, rank[detection]))
    detection, target, iou = detection[order], target[order], iou[order]
    for step in runs(rank[detection]):
        chooser, first = np.unique(detection[step], return_index=True)
        choice, is_counted = _last_free(
            first, target[step], iou[step], is_taken, counts[target[step]], is_crowd
        )
        has_choice = choice >= 0
        row, threshold, area = np.nonzero(has_choice)
        is_taken[target[step][choice[has_choice]], threshold, area] = True
        is_match[chooser] = has_choice
        is_ignored[chooser] = has_choice & ~is_counted
    return is_match, is_ignored


def _last_free(
    first: np.ndarray,
    target: np.ndarray,
    iou: np.ndarray,
    is_taken: np.ndarray,
    counts: np.ndarray,
    is_crowd: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The pair that each of some detections prefers, per threshold and range of area.

    Args:
        first: (C,) where the pairs of each detection begin; better pairs come later.
        target: (P,) object of each pair.
        iou: (P,) of each pair.
        is_taken: (N, T, A) of all objects.
        counts: (P, A) whether the pair's object counts.
        is_crowd: (N,) of all objects.

    Returns:
        (C, T, A) number of the pair or -1; (C, T, A) bool, whether its object counts.
    """
    num_pairs = len(target)
    is_free = ~is_taken[target] | is_crowd[target][:, None, None]
    is_open = is_free & (iou[:, None] >= IOU_THRESHOLDS)[:, :, None]  # (P, T, A)
    # Objects that count win over the others, whatever the IoU.
    preference = np.arange(num_pairs)[:, None] + num_pairs * counts
    best = np.maximum.reduceat(np.where(is_open, preference[:, None, :], -1), first, axis=0)
    return np.where(best >= 0, best % num_pairs, -1), best >= num_pairs
