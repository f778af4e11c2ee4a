"""From judged detections to COCO's precision, recall and their averages.

Source: pycocotools' `COCOeval.accumulate` and `summarize`; the order of every sum is theirs too.
Where they write -1 (a class without an object of that size) we write NaN.
"""

from typing import NamedTuple

import numpy as np

from lit_detseg.metrics.coco_matching import AREA_RANGES, IOU_THRESHOLDS, SETTINGS, unpacked
from lit_detseg.metrics.pairs import Matches, Sought, take

RECALL_THRESHOLDS = np.linspace(0, 1, 101)
DETECTIONS_PER_IMAGE = (1, 10, 100)  # and class
ALL, SMALL, MEDIUM, LARGE = range(len(AREA_RANGES))
AT_50, AT_75 = 0, 5  # entries of IOU_THRESHOLDS


class CocoCurves(NamedTuple):
    """Everything that the twelve numbers average; NaN where a class has no object that counts.

    The order of the axes is pycocotools'.
    """

    precision: np.ndarray  # (10 IoU, 101 recall, C classes, 4 areas), at 100 detections
    recall: np.ndarray  # (10 IoU, C classes, 4 areas, 3 numbers of detections)


def coco_curves(matches: Matches, sought: Sought, num_classes: int) -> CocoCurves:
    """Precision at 101 recalls, and the final recall, of every class.

    Args:
        matches: of all images; images are numbered in the order in which ties are to be broken.
        sought: of all images.
        num_classes: labels are 0 .. num_classes - 1.
    """
    num_iou, num_areas = SETTINGS
    precision = np.full((num_iou, len(RECALL_THRESHOLDS), num_classes, num_areas), np.nan)
    recall = np.full((num_iou, num_classes, num_areas, len(DETECTIONS_PER_IMAGE)), np.nan)
    total = np.zeros((num_classes, num_areas), dtype=np.int64)
    np.add.at(total, sought.label, sought.counts)
    matches = take(
        matches, np.lexsort((matches.rank, matches.image, -matches.score, matches.label))
    )
    bounds = np.searchsorted(matches.label, np.arange(num_classes + 1))
    for label in np.flatnonzero(total[:, ALL]):
        of_class = take(matches, slice(bounds[label], bounds[label + 1]))
        is_match, is_ignored = unpacked(of_class.is_match), unpacked(of_class.is_ignored)
        is_right, is_wrong = is_match & ~is_ignored, ~is_match & ~is_ignored
        for area in np.flatnonzero(total[label]):
            right, wrong = is_right[:, :, area], is_wrong[:, :, area]
            sought_here = total[label, area]
            recall[:, label, area] = _final_recall(right, of_class.rank, sought_here)
            precision[:, :, label, area] = _precision_at_recalls(right, wrong, sought_here)
    return CocoCurves(precision, recall)


def summarize(curves: CocoCurves) -> dict[str, float]:
    """COCO's twelve numbers, under torchmetrics' names; NaN where nothing counts."""
    precision, recall = curves
    return {
        "map": mean_of_defined(precision[..., ALL]),
        "map_50": mean_of_defined(precision[AT_50, ..., ALL]),
        "map_75": mean_of_defined(precision[AT_75, ..., ALL]),
        "map_small": mean_of_defined(precision[..., SMALL]),
        "map_medium": mean_of_defined(precision[..., MEDIUM]),
        "map_large": mean_of_defined(precision[..., LARGE]),
        "mar_1": mean_of_defined(recall[..., ALL, 0]),
        "mar_10": mean_of_defined(recall[..., ALL, 1]),
        "mar_100": mean_of_defined(recall[..., ALL, 2]),
        "mar_small": mean_of_defined(recall[..., SMALL, 2]),
        "mar_medium": mean_of_defined(recall[..., MEDIUM, 2]),
        "mar_large": mean_of_defined(recall[..., LARGE, 2]),
    }


def average_precision_of_classes(curves: CocoCurves) -> list[float]:
    """AP of each class, over the ten IoU thresholds and all areas; NaN without an object."""
    num_classes = curves.precision.shape[2]
    return [mean_of_defined(curves.precision[:, :, label, ALL]) for label in range(num_classes)]


def _final_recall(right: np.ndarray, rank: np.ndarray, total: int) -> np.ndarray:
    """(T, 3): share of the objects found by the best 1, 10 and 100 detections per image."""
    return np.stack([right[rank < most].sum(axis=0) for most in DETECTIONS_PER_IMAGE], 1) / total


def _precision_at_recalls(right: np.ndarray, wrong: np.ndarray, total: int) -> np.ndarray:
    """(T, R): the best precision at a recall of at least each threshold, 0 if never reached."""
    hits = np.cumsum(right, axis=0, dtype=np.float64).T  # (T, D)
    misses = np.cumsum(wrong, axis=0, dtype=np.float64).T
    precision = hits / (misses + hits + np.spacing(1))
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # One more column: what is read at recalls that are never reached.
    envelope = np.pad(envelope, ((0, 0), (0, 1)))
    places = [np.searchsorted(recall, RECALL_THRESHOLDS, side="left") for recall in hits / total]
    return np.take_along_axis(envelope, np.reshape(places, (len(IOU_THRESHOLDS), -1)), axis=1)


def mean_of_defined(values: np.ndarray) -> float:
    """The mean of what is not NaN; NaN where nothing is defined."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
