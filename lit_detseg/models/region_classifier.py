"""What R-CNN and SPP-net have in common: how features of regions become detections.

Sources: R-CNN (arXiv:1311.2524, sections 2.2 and 2.3, appendices B and C), SPP-net
(arXiv:1406.4729, section 4). The two differ in how a region gets its features, see
`lit_detseg.models.detectors`.

A detector of this kind is made in stages, each of which leaves the others' numbers as they are:
fine-tuning of the network with a softmax, then one linear SVM per class on fc7, then box regressors
on pool5 (`lit_detseg.modules.RegionSVMs`, `RegionBoxes`).

Names:
    pooled:   "pool5" of a region, a vector: what the convolutions make of it.
    features: "fc7" of a region: what fc6 and fc7 make of that.
"""

from abc import abstractmethod
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from lit_detseg.assignment.matching import objects_to_learn
from lit_detseg.assignment.regions import (
    R_CNN_REGIONS,
    DrawnRegions,
    RegionSampling,
    all_regions,
    draw_regions,
)
from lit_detseg.models.detector import Detector, proposals_of, seeds_of
from lit_detseg.models.heads.linear_svms import LinearSVMs
from lit_detseg.models.heads.region_boxes import RegionBoxRegressors
from lit_detseg.models.roi_stage import (
    FAST_RCNN_DETECTIONS,
    DetectionSettings,
    best_detections,
)
from lit_detseg.ops.box_coding import decode_boxes
from lit_detseg.ops.nms import clip_boxes
from lit_detseg.structures import BoxTarget, Detections, Images, UserError

Scorer = Literal["svm", "softmax"]


class RegionClassifier(Detector):
    """Score proposals by features that a subclass takes from the image.

    At most 100 regions of each class and image are answered before NMS, as in the programs; the
    threshold that they adapt to keep about 40 per image and class over the whole set is not here.
    Box regression is one pass: boxes are moved, clipped, then suppressed.

    Args:
        num_classes: without background, which the softmax has as class 0.
        num_pooled: numbers in pool5.
        layers: fc6 and fc7: pool5 (R, num_pooled) to features (R, num_features).
        num_features: numbers in fc7.
        sampling: which regions fine-tuning draws from an image.
        detections: which boxes are answered.
        scorer: `svm` ranks by margins and answers their sigmoid, which keeps the order (a margin is
            no probability: below 0 means "more likely not"); `softmax` is the ablation of
            appendix B. Not given: the SVMs as soon as they are fitted.
        box_regression: move the boxes. Not given: as soon as the regressors are fitted.
    """

    def __init__(
        self,
        num_classes: int,
        num_pooled: int,
        layers: nn.Module,
        num_features: int,
        sampling: RegionSampling = R_CNN_REGIONS,
        detections: DetectionSettings = FAST_RCNN_DETECTIONS,
        scorer: Scorer | None = None,
        box_regression: bool | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.num_pooled = num_classes, num_pooled
        self.sampling, self.detections = sampling, detections
        self.scorer, self.box_regression = scorer, box_regression
        self.layers = layers
        self.class_logits = nn.Linear(num_features, num_classes + 1)
        nn.init.normal_(self.class_logits.weight, std=0.01)  # fc8 in both systems
        nn.init.zeros_(self.class_logits.bias)
        self.svms = LinearSVMs(num_classes, num_features)
        self.box_regressors = RegionBoxRegressors(num_classes, num_pooled)

    @abstractmethod
    def region_features(
        self, images: Images, boxes: list[Float[Tensor, "_ 4"]]
    ) -> list[Float[Tensor, "_ pooled"]]:
        """pool5 of each box of each image."""

    @abstractmethod
    def feature_settings(self) -> dict[str, Any]:
        """What besides weights decides on `region_features`: plain types, as in JSON."""

    def training_features(
        self, images: Images, boxes: list[Float[Tensor, "_ 4"]]
    ) -> list[Float[Tensor, "_ pooled"]]:
        """The same for fine-tuning, where something may be left to chance."""
        return self.region_features(images, boxes)

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """`classification`: the softmax loss of regions drawn from each image."""
        drawn = self.draw(images, targets)
        pooled = self.training_features(images, [of_image.boxes for of_image in drawn])
        return self.classification_loss(pooled, [of_image.labels for of_image in drawn])

    def classification_loss(
        self, pooled: list[Float[Tensor, "_ pooled"]], labels: list[Int[Tensor, " _"]]
    ) -> dict[str, Float[Tensor, ""]]:
        """The mean over a mini-batch, whose regions and their labels are given by image.

        The mean is over all regions that the images could have given: 128 in the papers, whatever
        the split over ranks, and though some image may have too few.
        """
        logits = self.class_logits(self.layers(torch.cat(pooled))).float()
        loss = F.cross_entropy(logits, torch.cat(labels), reduction="sum")
        return {"classification": loss / (len(labels) * self.sampling.regions)}

    def draw(self, images: Images, targets: list[BoxTarget]) -> list[DrawnRegions]:
        """The regions that each image is fine-tuned on."""
        return [
            draw_regions(all_regions(boxes, objects), objects, self.sampling, seed)
            for boxes, objects, seed in zip(
                proposals_of(images), map(objects_to_learn, targets), seeds_of(images), strict=True
            )
        ]

    def detect(self, images: Images) -> list[Detections]:
        """Score every proposal, move the best boxes, suppress what overlaps better ones."""
        proposals = proposals_of(images)
        pooled = self.region_features(images, proposals)
        return [
            self._detect_in_image(*of_image)
            for of_image in zip(pooled, proposals, images.sizes, strict=True)
        ]

    def _detect_in_image(
        self,
        pooled: Float[Tensor, "regions pooled"],
        proposals: Float[Tensor, "regions 4"],
        image_size: Int[Tensor, "2"],
    ) -> Detections:
        boxes = proposals[:, None].expand(-1, self.num_classes, -1)
        if self._moves_boxes:
            boxes = decode_boxes(self.box_regressors(pooled), boxes)
        boxes = clip_boxes(boxes, image_size)
        return best_detections(self._scores(self.layers(pooled)), boxes, self.detections)

    def _scores(
        self, features: Float[Tensor, "regions features"]
    ) -> Float[Tensor, "regions classes"]:
        """From 0 to 1, higher for what ranks higher."""
        scorer = self.scorer or ("svm" if self.svms.are_fitted else "softmax")
        if scorer == "softmax":
            return self.class_logits(features).float().softmax(dim=1)[:, 1:]
        if not self.svms.are_fitted:
            raise UserError(
                "The SVMs of this detector were never fitted. Run the RegionSVMs stage first, or "
                'set scorer to "softmax", or leave it out.'
            )
        return self.svms(features).sigmoid()

    @property
    def _moves_boxes(self) -> bool:
        fitted = self.box_regressors.are_fitted
        if self.box_regression and not fitted:
            raise UserError(
                "The box regressors of this detector were never fitted. Run the RegionBoxes stage "
                "first, or set box_regression to false, or leave it out."
            )
        return fitted and self.box_regression is not False
