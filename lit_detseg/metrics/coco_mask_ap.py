"""COCO's average precision and recall of instance masks, and of their boxes."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from lit_detseg.metrics.coco_accumulation import (
    CocoCurves,
    average_precision_of_classes,
    coco_curves,
    summarize,
)
from lit_detseg.metrics.coco_matching import match_coco
from lit_detseg.metrics.instance_masks import found_masks, true_masks
from lit_detseg.metrics.keyed_metric import KeyedMetric
from lit_detseg.metrics.pairs import (
    NOTHING_FOUND,
    NOTHING_TRUE,
    Found,
    Matches,
    Sought,
    Truth,
    mask_iou,
)
from lit_detseg.metrics.run_lengths import mask_areas
from lit_detseg.structures import BoxTarget, Detections

# What `Found.shape` and `Truth.shape` hold here: a box XYWH and an RLE.
BOX_AND_MASK = np.dtype([("box", np.float64, 4), ("mask", object)])

FoundOrTruth = TypeVar("FoundOrTruth", Found, Truth)


class CocoMaskAveragePrecision(KeyedMetric):
    """COCO's numbers of masks, and its twelve of boxes beside them, as pycocotools has them.

    Masks are compared in pixels of the original image, as run lengths. An object is small, medium
    or large by its annotated area; a detection by the pixels of its mask, or by the area of its box
    where boxes are compared (pycocotools takes the box's in both, if a results file holds both).
    All else is as in `CocoAveragePrecision`. A mask without pixels overlaps nothing: as a detection
    it is wrong, as an object it is missed.

    Results: those of `CocoAveragePrecision`, of masks; and the twelve of boxes as `box_map`,
    `box_map_50`, ..., `box_mar_large`.

    Attributes:
        num_images: different images over all ranks, as of the last `compute`.
        curves: precision and recall of masks behind the latest results.
        box_curves: those of boxes.
    """

    higher_is_better = True
    curves: CocoCurves | None = None
    box_curves: CocoCurves | None = None
    _nothing_found = NOTHING_FOUND._replace(shape=np.zeros(0, BOX_AND_MASK))
    _nothing_true = NOTHING_TRUE._replace(shape=np.zeros(0, BOX_AND_MASK))

    def _checked_rows(self, found: Detections, target: BoxTarget) -> tuple[Found, Truth]:
        boxes, objects = super()._checked_rows(found, target)
        masks, true = found_masks(found, target), true_masks(target)
        predicted = _with_masks(boxes, masks)._replace(area=mask_areas(masks))
        return predicted, _with_masks(objects, true)

    def _judge(self, found: Found, truth: Truth) -> tuple[Matches, Sought]:
        """The answers about masks, and behind them those about boxes, as bits of one row."""
        of_masks, sought = match_coco(_of("mask", found), _of("mask", truth), mask_iou)
        boxes = _of("box", found)
        boxes = boxes._replace(area=boxes.shape[:, 2] * boxes.shape[:, 3])
        # The same rows in the same order: neither score nor rank depends on the shape.
        of_boxes, _ = match_coco(boxes, _of("box", truth))
        both = of_masks._replace(
            is_match=np.concatenate([of_masks.is_match, of_boxes.is_match], axis=1),
            is_ignored=np.concatenate([of_masks.is_ignored, of_boxes.is_ignored], axis=1),
        )
        return both, sought

    def _scores(
        self, matches: Matches, sought: Sought, class_names: Sequence[str]
    ) -> tuple[dict[str, float], list[float]]:
        is_match, is_ignored = (
            np.hsplit(bits, 2) for bits in (matches.is_match, matches.is_ignored)
        )
        self.curves, self.box_curves = (
            coco_curves(matches._replace(is_match=m, is_ignored=i), sought, len(class_names))
            for m, i in zip(is_match, is_ignored, strict=True)
        )
        of_boxes = {f"box_{key}": value for key, value in summarize(self.box_curves).items()}
        return summarize(self.curves) | of_boxes, average_precision_of_classes(self.curves)


def _with_masks(rows: FoundOrTruth, masks: np.ndarray) -> FoundOrTruth:
    """The rows with both their boxes and masks for shapes."""
    shapes = np.empty(len(masks), BOX_AND_MASK)
    shapes["box"], shapes["mask"] = rows.shape, masks
    return rows._replace(shape=shapes)


def _of(kind: str, rows: FoundOrTruth) -> FoundOrTruth:
    """The rows with shapes of one kind."""
    return rows._replace(shape=rows.shape[kind])
