"""Pascal VOC's mean average precision of boxes."""

from collections.abc import Sequence

import numpy as np

from lit_detseg.metrics.keyed_metric import KeyedMetric
from lit_detseg.metrics.pairs import Found, Matches, Sought, Truth
from lit_detseg.metrics.voc_matching import Interpolation, match_voc, voc_average_precisions
from lit_detseg.structures import UserError


class VocAveragePrecision(KeyedMetric):
    """Mean AP of Pascal VOC (Everingham et al., IJCV 2010), as py-faster-rcnn's `voc_eval` has it.

    Difficult objects are neither sought nor count as errors when found. The kit's IoU counts
    pixels, corners included; our boxes are continuous, and their plain IoU is the same number (see
    `voc_matching`). Where scores are equal, images come in the sorted order of their ids.

    Results: `map` (mean over the classes that have an object which is not difficult), the same
    number again as `map_50` (`map_70` at an IoU of 0.7), and `map_<class name>`.

    Args:
        interpolation: "11_point" as papers report on VOC 2007, "area" as on VOC 2010 and later.
        iou_threshold: a detection is right above this IoU, in (0, 1).

    Attributes:
        num_images: different images over all ranks, as of the last `compute`.
    """

    higher_is_better = True

    def __init__(self, interpolation: Interpolation, iou_threshold: float = 0.5) -> None:
        super().__init__()
        if not 0 < iou_threshold < 1:
            raise UserError(f"iou_threshold is {iou_threshold}. Give a number between 0 and 1.")
        self.interpolation = interpolation
        self.iou_threshold = iou_threshold

    def _judge(self, found: Found, truth: Truth) -> tuple[Matches, Sought]:
        return match_voc(found, truth, self.iou_threshold)

    def _scores(
        self, matches: Matches, sought: Sought, class_names: Sequence[str]
    ) -> tuple[dict[str, float], list[float]]:
        of_classes = voc_average_precisions(matches, sought, len(class_names), self.interpolation)
        defined = [score for score in of_classes if not np.isnan(score)]
        mean = float(np.mean(defined)) if defined else float("nan")
        return {"map": mean, f"map_{100 * self.iou_threshold:g}": mean}, of_classes
