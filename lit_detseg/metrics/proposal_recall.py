"""How many objects region proposals find, whatever the class.

Source: `imdb.evaluate_recall` of py-faster-rcnn, after Hosang et al. (arXiv:1502.05082): proposals
and objects are paired one to one, the pair of largest IoU first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lit_detseg.metrics.detection_metric import DetectionMetric
from lit_detseg.metrics.gathering import gather_arrays, is_distributed
from lit_detseg.metrics.pairs import NOTHING_FOUND, NOTHING_TRUE, box_iou
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
        objects = target.original_boxes.detach().cpu().double()[sought].numpy()
        boxes = found.boxes.detach().cpu().double().numpy()
        counts = self._no_counts()
        for row, limit in enumerate(self.limits):
            ious = iou_of_objects(boxes[:limit], objects)
            counts[row] = (ious[:, None] >= np.array(self.iou_thresholds)).sum(axis=0)
        return _Image(len(objects), counts)

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


def iou_of_objects(proposals: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """With which IoU each object is found when every proposal answers for one object at most.

    >>> boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 8]])
    >>> iou_of_objects(boxes[:1], boxes), iou_of_objects(boxes, boxes[1:])
    (array([1., 0.]), array([1.]))

    Args:
        proposals: (P, 4) XYXY pixels.
        objects: (N, 4) likewise.

    Returns:
        (N,) float64, in the order of the objects; 0 for one that is not found.
    """
    iou = _iou_matrix(proposals, objects)
    result = np.zeros(len(objects))
    for _ in range(min(iou.shape)):
        proposal, target = np.unravel_index(iou.argmax(), iou.shape)
        result[target] = iou[proposal, target]
        iou[proposal], iou[:, target] = -1.0, -1.0
    return result


def _iou_matrix(proposals: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """IoU of every proposal with every object, (P, N) float64."""
    shapes = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in (proposals, objects)]
    found, truth = NOTHING_FOUND._replace(shape=shapes[0]), NOTHING_TRUE._replace(shape=shapes[1])
    truth = truth._replace(is_crowd=np.zeros(len(objects), dtype=bool))
    detection, target = (part.ravel() for part in np.indices((len(proposals), len(objects))))
    return box_iou(found, truth, detection, target).reshape(len(proposals), len(objects))
