"""What `DetectionModule` asks of a metric."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from lit_detseg.structures import BoxTarget, Detections


class DetectionMetric(Metric):
    """A score of boxes in pixels of the original image, keyed by image id.

    Attributes:
        class_names: names of the labels, set by the module before the first `update`; the names
            of the per-class results come from here.
        main_score: the result that tells the best checkpoint.
    """

    class_names: Sequence[str] | None = None
    main_score: str = "map"

    @abstractmethod
    def update(self, detections: list[Detections], targets: list[BoxTarget]) -> None:
        """Take in some images.

        Args:
            detections: what was found, boxes in pixels of the original image.
            targets: `original_boxes`, `areas`, `is_crowd`, `is_difficult` and `image_id` are read.
        """

    @abstractmethod
    def compute(self) -> dict[str, Tensor]:
        """Scalars under torchmetrics' names: `map`, `map_50`, ..., `map_<class name>`.

        NaN stands for "not defined here", for example a class that has no object: never -1.
        """


def monitored_score(metric: Any) -> str:
    """The name under which a metric's main score is logged in validation.

    Args:
        metric: `map` is the main score of one that does not say.
    """
    return f"val/{getattr(metric, 'main_score', 'map')}"
