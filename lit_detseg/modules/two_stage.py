"""The two-stage detectors as LightningModules: what each one's paper fixes, ready to train."""

from dataclasses import dataclass

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torchmetrics import Metric

from lit_detseg.metrics.coco_ap import CocoAveragePrecision
from lit_detseg.models.backbones import Backbone, build_backbone
from lit_detseg.models.detectors.faster_rcnn import FasterRCNNDetector
from lit_detseg.models.proposals import (
    PAPER_ANCHORS,
    PAPER_LEARNING,
    PAPER_PROPOSALS,
    AnchorLearning,
    AnchorSettings,
    ProposalSettings,
)
from lit_detseg.models.roi_stage import (
    PAPER_DETECTIONS,
    PAPER_ROIS,
    DetectionSettings,
    RoISettings,
)
from lit_detseg.modules.base import DetectionModule
from lit_detseg.structures import UserError


@dataclass(frozen=True)
class TwoStageSettings:
    """A complete set of a two-stage detector's numbers."""

    anchors: AnchorSettings
    anchor_learning: AnchorLearning
    proposals: ProposalSettings
    rois: RoISettings
    detections: DetectionSettings
    rpn_channels: int


# Faster R-CNN as published, for one map of stride 16 (see the defaults of each class).
ONE_MAP = TwoStageSettings(
    PAPER_ANCHORS, PAPER_LEARNING, PAPER_PROPOSALS, PAPER_ROIS, PAPER_DETECTIONS, rpn_channels=512
)


def pyramid_settings(strides: tuple[int, ...]) -> TwoStageSettings:
    """Faster R-CNN on a feature pyramid (arXiv:1612.03144, section 4; Detectron's FPN baselines).

    One anchor size per level, 8 strides wide (32 at stride 4, ..., 512 at stride 64). Anchors that
    cross the border are learned from (section 5.1). The paper states no divisors for the losses:
    they are those of its code.
    """
    return TwoStageSettings(
        anchors=AnchorSettings(sizes=tuple((8.0 * stride,) for stride in strides)),
        anchor_learning=AnchorLearning(ignore_crossing=False, balance="released_code"),
        proposals=ProposalSettings(
            training_before_nms=2000,
            training_after_nms=2000,
            before_nms=1000,
            after_nms=1000,
            min_side=0.0,
        ),
        rois=RoISettings(pooling="roi_align", num_samples=512),
        detections=DetectionSettings(nms_iou=0.5),
        rpn_channels=256,
    )


class FasterRCNN(DetectionModule):
    """Faster R-CNN (arXiv:1506.01497), its four losses trained jointly.

    Losses: `rpn_objectness`, `rpn_box`, `classification`, `box_regression`.

    Settings that are not given are the paper's when the backbone returns one feature map, and
    those of FPN when it returns a pyramid.

    Args:
        num_classes: without background. On the command line it is read from the shards.
        backbone: a name (`lit_detseg.models.backbones.BACKBONES`) or a backbone of your own.
        backbone_weights: `none`, a file, or the name of weights that torchvision knows.
        trainable_stages: how many of a named backbone's stages learn, counted from the output.
        anchors: where the anchors are.
        anchor_learning: which of them are learned from; its `balance` chooses between the paper's
            loss and that of the released code.
        proposals: which boxes the first stage hands to the second.
        rois: how they are pooled, and which are learned from.
        detections: which boxes are answered.
        rpn_channels: width of the region proposal network.
        head_width: width of the box head's layers, where the backbone brings none of its own.
        metric: COCO average precision when not given.
        optimizer: SGD as in section 3.1.3 when not given.
        lr_scheduler: see `DetectionModule`, likewise the following.
        reference_batch_size: images per step that the learning rate is stated for.
        warmup_steps: optimiser steps of linear warm-up.

    Raises:
        UserError: when `num_classes` is missing, or settings do not fit the backbone.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        backbone: Backbone | str = "vgg16",
        backbone_weights: str = "none",
        trainable_stages: int | None = None,
        anchors: AnchorSettings | None = None,
        anchor_learning: AnchorLearning | None = None,
        proposals: ProposalSettings | None = None,
        rois: RoISettings | None = None,
        detections: DetectionSettings | None = None,
        rpn_channels: int | None = None,
        head_width: int = 1024,
        metric: Metric | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(
            parameters, lr=0.001, momentum=0.9, weight_decay=0.0005
        ),
        lr_scheduler: LRSchedulerCallable = torch.optim.lr_scheduler.ConstantLR,
        reference_batch_size: int | None = None,
        warmup_steps: int | None = None,
    ) -> None:
        if num_classes is None:
            raise UserError(
                "num_classes is missing. The command line reads it from the shards; "
                "in Python give the number of classes, without background."
            )
        if isinstance(backbone, str):
            backbone = build_backbone(backbone, backbone_weights, trainable_stages)
        elif backbone_weights != "none" or trainable_stages is not None:
            raise UserError(
                "backbone_weights and trainable_stages go with the name of a backbone; "
                "this one was given as an object. Set them there."
            )
        usual = ONE_MAP if len(backbone.strides) == 1 else pyramid_settings(backbone.strides)
        detector = FasterRCNNDetector(
            backbone,
            num_classes,
            anchors=anchors or usual.anchors,
            anchor_learning=anchor_learning or usual.anchor_learning,
            proposals=proposals or usual.proposals,
            rois=rois or usual.rois,
            detections=detections or usual.detections,
            rpn_channels=rpn_channels or usual.rpn_channels,
            head_width=head_width,
        )
        super().__init__(
            detector,
            CocoAveragePrecision() if metric is None else metric,
            optimizer,
            lr_scheduler,
            reference_batch_size,
            warmup_steps,
        )
