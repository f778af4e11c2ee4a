"""torchmetrics' own mean average precision, for recipes that ask for it by name."""

from typing import NoReturn

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.detection import MeanAveragePrecision

from lit_detseg.metrics.detection_metric import DetectionMetric
from lit_detseg.metrics.gathering import gather_arrays, is_distributed
from lit_detseg.metrics.keyed_metric import class_keys
from lit_detseg.structures import BoxTarget, Detections, UserError


def as_detection_metric(metric: Metric) -> DetectionMetric:
    """One of our metrics as it is; torchmetrics' `MeanAveragePrecision` in our terms.

    Raises:
        UserError: when the metric is neither.
    """
    if isinstance(metric, DetectionMetric):
        return metric
    if isinstance(metric, MeanAveragePrecision):
        return TorchmetricsAveragePrecision(metric)
    raise UserError(
        f"{type(metric).__name__} does not score detections. Name "
        "lit_detseg.metrics.coco_ap.CocoAveragePrecision, "
        "lit_detseg.metrics.voc_ap.VocAveragePrecision, "
        "torchmetrics.detection.MeanAveragePrecision or a DetectionMetric of your own."
    )


class TorchmetricsAveragePrecision(DetectionMetric):
    """`torchmetrics.detection.MeanAveragePrecision` with our inputs and names.

    Results: its scalars under its names, with NaN for its -1; `map_<class name>` for every class
    (from `map_per_class`, when built with `class_metrics=True`), NaN for a class that has no
    object.

    Prefer `CocoAveragePrecision`. Known gaps of torchmetrics 1.9, which remain:
        - ranks exchange 21 collectives per image (7 states, 3 collectives each): minutes on COCO;
        - ranks that have seen different numbers of images abort (gloo) or hang (NCCL);
        - its recall thresholds pass through float32, which costs 5e-5 to 8e-4 of AP against
          pycocotools; `rec_thresholds=np.linspace(0, 1, 101).tolist()` repairs it;
        - every rank computes everything, some thirty times slower than ours;
        - an image that is seen on two ranks counts twice;
        - with other `max_detection_thresholds` than [1, 10, 100] its `map` is -1, here NaN.

    Args:
        metric: with `iou_type="bbox"`; its `box_format` has to be "xyxy".

    Attributes:
        num_images: images over all ranks, as of the last `compute`.
    """

    higher_is_better = True
    full_state_update = False
    num_images: int | None = None

    def __init__(self, metric: MeanAveragePrecision) -> None:
        super().__init__(sync_on_compute=False)  # the inner metric exchanges for itself
        if metric.box_format != "xyxy" or tuple(metric.iou_type) != ("bbox",):
            raise UserError(
                f"MeanAveragePrecision has box_format={metric.box_format!r} and "
                f"iou_type={metric.iou_type!r}. Here it scores boxes: use 'xyxy' and 'bbox', or "
                "lit_detseg.metrics.coco_mask_ap.CocoMaskAveragePrecision for masks."
            )
        self.inner = metric
        self._forget()

    def update(self, detections: list[Detections], targets: list[BoxTarget]) -> None:
        """Take in some images; an image that this rank has seen is passed over.

        Args:
            detections: what was found, boxes in pixels of the original image.
            targets: `original_boxes`, `areas`, `is_crowd` and `image_id` are read.
        """
        for found, target in zip(detections, targets, strict=True):
            if target.image_id in self._seen:
                continue
            self._seen.add(target.image_id)
            self.inner.update([self._prediction(found)], [self._truth(target)])

    def compute(self) -> dict[str, Tensor]:
        """Its scalars and `map_<class name>`; NaN stands for "not defined here"."""
        seen = {"images": np.array(len(self._seen))}
        of_ranks = gather_arrays(seen, self.process_group) if is_distributed() else [seen]
        self.num_images = sum(int(rank["images"]) for rank in of_ranks)
        results = self.inner.compute()
        scalars = {
            key: _nan_for_minus_one(value)
            for key, value in results.items()
            if key.startswith(("map", "mar")) and not key.endswith("_per_class")
        }
        return scalars | (self._class_scores(results) if self.inner.class_metrics else {})

    def forward(self, detections: list[Detections], targets: list[BoxTarget]) -> NoReturn:
        """Not offered: the scores of one batch would cost those of all batches so far."""
        raise NotImplementedError("Call `update` for each batch and `compute` at the end.")

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.inner.reset()
        self._forget()

    def _forget(self) -> None:
        self._seen: set[str] = set()
        self.num_images = None

    def _prediction(self, found: Detections) -> dict[str, Tensor]:
        columns = {
            "boxes": found.boxes.double(),
            "scores": found.scores,
            "labels": found.labels,
        }
        return {name: column.to(self.inner.device) for name, column in columns.items()}

    def _truth(self, target: BoxTarget) -> dict[str, Tensor]:
        columns = {
            "boxes": target.original_boxes.double(),
            "labels": target.labels,
            "iscrowd": target.is_crowd,
            "area": target.areas,
        }
        return {name: column.to(self.inner.device) for name, column in columns.items()}

    def _class_scores(self, results: dict[str, Tensor]) -> dict[str, Tensor]:
        labels = results["classes"].reshape(-1).tolist()
        of_labels = results.get("map_per_class", torch.empty(0)).reshape(-1)
        scores = dict(zip(labels, _nan_for_minus_one(of_labels), strict=True))
        names = dict(enumerate(self.class_names)) if self.class_names else dict.fromkeys(labels)
        keys = class_keys([name or str(label) for label, name in names.items()], results)
        undefined = torch.tensor(torch.nan, dtype=torch.float64)
        return {key: scores.get(label, undefined) for key, label in zip(keys, names, strict=True)}


def _nan_for_minus_one(scores: Tensor) -> Tensor:
    return scores.cpu().double().where(scores.cpu() != -1, torch.nan)
