"""Cityscapes' average precision of instances."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from lit_detseg.metrics.cityscapes_matching import (
    VOID,
    cityscapes_average_precisions,
    match_cityscapes,
)
from lit_detseg.metrics.coco_accumulation import mean_of_defined
from lit_detseg.metrics.instance_masks import found_masks, true_masks
from lit_detseg.metrics.keyed_metric import JudgedImages, KeyedMetric
from lit_detseg.metrics.pairs import (
    NOTHING_FOUND,
    NOTHING_TRUE,
    Found,
    Matches,
    Sought,
    Truth,
    concatenate,
    take,
)
from lit_detseg.metrics.run_lengths import mask_areas
from lit_detseg.structures import BoxTarget, Detections

FoundOrTruth = TypeVar("FoundOrTruth", Found, Truth)


class CityscapesAveragePrecision(KeyedMetric):
    """AP of instance masks (Cordts et al., CVPR 2016), as cityscapesScripts has it.

    Masks are compared in pixels of the original image, as run lengths; a prediction without any
    pixel is none. Objects are taken to be disjoint. Groups (`is_crowd`), objects below 100 pixels
    and void (`BoxTarget.void`) are handled as in `cityscapes_matching`. `areas` and `is_difficult`
    are not read. The numbers for objects within 50 and 100 m need depth, and are not there.

    Where the script fails we go on: a class whose predictions are all ignored, and none of whose
    objects is found, has an AP of 0 (the script: IndexError).

    Results: `map` (mean over classes and IoU 0.50 to 0.95), `map_50`, `map_50_<class name>` and
    `map_<class name>` (a class whose key is taken already gets `_class` behind it).

    Attributes:
        num_images: different images over all ranks, as of the last `compute`.
        average_precisions: (C, 10) behind the latest results; NaN for a class without an object.
    """

    higher_is_better = True
    average_precisions: np.ndarray | None = None

    def _checked_rows(self, found: Detections, target: BoxTarget) -> tuple[Found, Truth]:
        boxes, objects = super()._checked_rows(found, target)
        predicted = _with_masks(boxes, found_masks(found, target))
        truth = _with_masks(objects, true_masks(target))
        if target.void is not None:
            truth = concatenate([truth, _void_row(target)])
        return take(predicted, predicted.area > 0), truth

    def _judged_images(self, images: dict[str, tuple[Found, Truth]]) -> JudgedImages:
        # One by one: pairs of masks, unlike pairs of boxes, gain nothing from company.
        judged = [self._judge(NOTHING_FOUND, NOTHING_TRUE)]
        for number, (found, truth) in enumerate(images.values()):
            found = found._replace(image=found.image + number)
            judged.append(self._judge(found, truth._replace(image=truth.image + number)))
        matches, sought = zip(*judged, strict=True)
        ids = np.array(list(images), dtype=np.str_)
        return JudgedImages(ids, concatenate(matches), concatenate(sought))

    def _judge(self, found: Found, truth: Truth) -> tuple[Matches, Sought]:
        return match_cityscapes(found, truth)

    def _scores(
        self, matches: Matches, sought: Sought, class_names: Sequence[str]
    ) -> tuple[dict[str, float], list[float]]:
        scores = cityscapes_average_precisions(matches, sought, len(class_names))
        self.average_precisions = scores
        at_50 = {
            f"map_50_{name}": float(row[0]) for name, row in zip(class_names, scores, strict=True)
        }
        summary = {"map": mean_of_defined(scores), "map_50": mean_of_defined(scores[:, 0]), **at_50}
        return summary, [float(row.mean()) for row in scores]


def _with_masks(rows: FoundOrTruth, masks: np.ndarray) -> FoundOrTruth:
    """The rows with masks for shapes, and their pixels for areas."""
    return rows._replace(shape=masks, area=mask_areas(masks))


def _void_row(target: BoxTarget) -> Truth:
    """The pixels that count for nothing, in the form of an object."""
    row = Truth(
        image=np.zeros(1, np.int64),
        label=np.array([VOID]),
        shape=np.array([target.void], dtype=object),
        area=np.zeros(1),
        is_crowd=np.zeros(1, bool),
        is_difficult=np.zeros(1, bool),
    )
    return _with_masks(row, row.shape)
