"""How many objects region proposals find, whatever the class.

An object is found by the first n proposals of its image when one of them overlaps it enough; a
proposal may find several objects, as in `lit-detseg propose`. (py-faster-rcnn's `evaluate_recall`
pairs them one to one: where objects crowd together it counts a few less.)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

from lit_detseg.metrics.detection_metric import DetectionMetric
from lit_detseg.metrics.gathering import gather_arrays, is_distributed
from lit_detseg.structures import BoxTarget, Detections, UserError


class _Image(NamedTuple):
    """What the proposals of an image find."""

    objects: int
    found: np.ndarray  # (L, T) int64: with so many proposals, at such an IoU


class ProposalRecall(DetectionMetric):
    """Share of the objects that proposals find, for some numbers of proposals and some IoUs.

    Crowds and difficult objects are not sought. An image seen twice, on one rank or on two, counts
    once. What is kept of an image is a row of counts; `compute` exchanges all of them at once.

    Results: `recall_50_at_300` (IoU of at least 0.5, the 300 best proposals of each image), and so
    on; NaN without any object.

    Args:
        limits: numbers of proposals.
        iou_thresholds: in (0, 1].

    Attributes:
        num_images: different images over all ranks, as of the last `compute`.
    """

    higher_is_better = True
    full_state_update = False
    num_images: int | None = None

    def __init__(
        self,
        limits: Sequence[int] = (300, 1000),
        iou_thresholds: Sequence[float] = (0.5, 0.7),
    ) -> None:
        super().__init__()
        if not (limits and iou_thresholds) or min(limits) < 1:
            raise UserError(
                f"limits = {list(limits)}, iou_thresholds = {list(iou_thresholds)}: give at least "
                "one of each, and limits of at least 1 proposal."
            )
        if not all(0 < threshold <= 1 for threshold in iou_thresholds):
            raise UserError(f"iou_thresholds = {list(iou_thresholds)} must lie in (0, 1].")
        self.limits = tuple(limits)
        self.iou_thresholds = tuple(iou_thresholds)
        self.main_score = self._keys()[0]
        self._forget()

    def update(self, detections: list[Detections], targets: list[BoxTarget]) -> None:
        """Take in some images.

        Args:
            detections: the proposals, best first, boxes XYXY in pixels of the original image.
            targets: `original_boxes`, `is_crowd`, `is_difficult` and `image_id` are read.
        """
        for found, target in zip(detections, targets, strict=True):
            if target.image_id not in self._images:
                self._images[target.image_id] = self._judge(found, target)

    def compute(self) -> dict[str, Tensor]:
        """Scalars, float64, by name; the same on every rank."""
        images = self._images
        if is_distributed():
            ranks = gather_arrays(self._as_arrays(), self.process_group)
            images = {
                image_id: _Image(objects, found)
                for rank in reversed(ranks)  # of an image seen twice, the lowest rank's stays
                for image_id, objects, found in zip(
                    rank["ids"].tolist(), rank["objects"].tolist(), rank["found"], strict=True
                )
            }
        self.num_images = len(images)
        objects = sum(image.objects for image in images.values())
        found = self._no_counts() + sum(image.found for image in images.values())
        recalls = torch.from_numpy(found / objects if objects else np.full(found.shape, np.nan))
        return dict(zip(self._keys(), recalls.flatten().unbind(), strict=True))

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self._forget()

    def sync(self, *args: object, **kwargs: object) -> None:
        """Nothing: `compute` gathers by itself and leaves what this rank holds as it is."""

    def _keys(self) -> list[str]:
        """Of the results, limit by limit."""
        return [
            f"recall_{100 * threshold:g}_at_{limit}"
            for limit in self.limits
            for threshold in self.iou_thresholds
        ]

    def _judge(self, found: Detections, target: BoxTarget) -> _Image:
        sought = ~(target.is_crowd | target.is_difficult).cpu()
        objects = target.original_boxes.detach().cpu().double()[sought]
        iou = box_iou(objects, found.boxes.detach().cpu().double()).numpy()
        best = np.array([iou[:, :limit].max(axis=1, initial=0.0) for limit in self.limits])
        is_found = best[:, None] >= np.array(self.iou_thresholds)[:, None]  # (L, T, N)
        return _Image(len(objects), is_found.sum(axis=2))

    def _as_arrays(self) -> dict[str, np.ndarray]:
        images = self._images.values()
        return {
            "ids": np.array(list(self._images), dtype=np.str_),
            "objects": np.array([image.objects for image in images], dtype=np.int64),
            "found": np.array([*(image.found for image in images)], dtype=np.int64).reshape(
                len(images), *self._no_counts().shape
            ),
        }

    def _no_counts(self) -> np.ndarray:
        return np.zeros((len(self.limits), len(self.iou_thresholds)), dtype=np.int64)

    def _forget(self) -> None:
        self._images: dict[str, _Image] = {}
        self.num_images = None
