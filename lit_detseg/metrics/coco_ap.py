"""COCO's average precision and recall of boxes."""

from collections.abc import Sequence

from lit_detseg.metrics.coco_accumulation import (
    CocoCurves,
    average_precision_of_classes,
    coco_curves,
    summarize,
)
from lit_detseg.metrics.coco_matching import match_coco
from lit_detseg.metrics.keyed_metric import KeyedMetric
from lit_detseg.metrics.pairs import Found, Matches, Sought, Truth


class CocoAveragePrecision(KeyedMetric):
    """COCO's twelve numbers (arXiv:1405.0312) and the AP of every class, as pycocotools has them.

    Boxes are compared in pixels of the original image in float64; small, medium and large go by
    the annotated area; what is found in crowds is neither right nor wrong; images without
    detections count. Where scores are equal, images come in the sorted order of their ids, as if
    pycocotools had been given numbers in that order. `is_difficult` has no meaning here.

    Results: `map` (IoU 0.50 to 0.95), `map_50`, `map_75`, `map_small`, `map_medium`, `map_large`,
    `mar_1`, `mar_10`, `mar_100`, `mar_small`, `mar_medium`, `mar_large` and `map_<class name>` (a
    class whose key is taken already, such as "small", is `map_small_class`).

    Attributes:
        num_images: different images over all ranks, as of the last `compute`.
        curves: precision and recall behind the latest results.
    """

    higher_is_better = True
    curves: CocoCurves | None = None

    def _judge(self, found: Found, truth: Truth) -> tuple[Matches, Sought]:
        return match_coco(found, truth)

    def _scores(
        self, matches: Matches, sought: Sought, class_names: Sequence[str]
    ) -> tuple[dict[str, float], list[float]]:
        self.curves = coco_curves(matches, sought, len(class_names))
        return summarize(self.curves), average_precision_of_classes(self.curves)
