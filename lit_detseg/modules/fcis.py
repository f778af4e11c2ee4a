"""FCIS as a LightningModule: what its paper fixes, ready to train."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torchmetrics import Metric

from lit_detseg.metrics.coco_mask_ap import CocoMaskAveragePrecision
from lit_detseg.models.backbones import Backbone
from lit_detseg.models.detectors.fcis import FCISDetector
from lit_detseg.models.fcis_settings import (
    VOC_DETECTIONS,
    VOC_ROIS,
    FCISDetectionSettings,
    FCISRoISettings,
)
from lit_detseg.models.fcis_stage import FCISStage
from lit_detseg.models.proposals import (
    PAPER_ANCHORS,
    AnchorLearning,
    AnchorSettings,
    ProposalSettings,
    RegionProposalNetwork,
)
from lit_detseg.modules.base import DetectionModule
from lit_detseg.modules.two_stage_settings import chosen_backbone, known_classes

# The paper states no divisors for the losses of the first stage: they are those of its code.
FCIS_LEARNING = AnchorLearning(balance="released_code")

# 300 regions in training, too, since all of them may be judged (section 2.3).
FCIS_PROPOSALS = ProposalSettings(training_before_nms=6000, training_after_nms=300)


class FCIS(DetectionModule):
    """FCIS (arXiv:1611.07709), its five losses trained jointly.

    Losses: `rpn_objectness`, `rpn_box`, `classification`, `mask`, `box_regression`.

    Args:
        num_classes: without background; the command line takes it from the shards.
        backbone: name of a backbone with one map, or one that is built already.
        backbone_weights: of a named backbone: `none`, a file, or a name that torchvision knows.
        trainable_stages: how many of a named backbone's stages learn, counted from the output.
        anchors: where the anchors are.
        anchor_learning: which of them are learned from.
        proposals: which boxes the first stage hands to the second.
        rois: how they are put together, and which are learned from.
        detections: which are answered.
        rpn_channels: width of the region proposal network.
        metric: COCO's average precision of masks and boxes when not given.
        optimizer: SGD as in the released code, for 4 images a step, when not given.
        training: see `DetectionModule`. In the released code the first new layer (conv_new_1)
            learns three times as fast as all others: `lr_factors: {stage.head.reduce: 3}`.

    Raises:
        UserError: when `num_classes` is missing, or settings do not fit the backbone.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        backbone: Backbone | str = "resnet101_dc5",
        backbone_weights: str = "none",
        trainable_stages: int | None = None,
        anchors: AnchorSettings = PAPER_ANCHORS,
        anchor_learning: AnchorLearning = FCIS_LEARNING,
        proposals: ProposalSettings = FCIS_PROPOSALS,
        rois: FCISRoISettings = VOC_ROIS,
        detections: FCISDetectionSettings = VOC_DETECTIONS,
        rpn_channels: int = 512,
        metric: Metric | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(
            parameters, lr=0.002, momentum=0.9, weight_decay=0.0005
        ),
        **training: Any,
    ) -> None:
        classes = known_classes(num_classes)
        backbone = chosen_backbone(backbone, backbone_weights, trainable_stages)
        stage = FCISStage.over(backbone, classes, rois, detections)
        rpn = RegionProposalNetwork(
            backbone.out_channels,
            backbone.strides,
            rpn_channels,
            anchors,
            anchor_learning,
            proposals,
        )
        detector = FCISDetector(backbone, rpn, stage)
        metric = CocoMaskAveragePrecision() if metric is None else metric
        super().__init__(detector, metric, optimizer, **training)
