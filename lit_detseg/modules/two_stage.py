"""The two-stage detectors as LightningModules: what each one's paper fixes, ready to train."""

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities import rank_zero_warn
from torchmetrics import Metric

from lit_detseg.assignment.matching import Objects
from lit_detseg.assignment.offset_statistics import measure_offsets
from lit_detseg.metrics.coco_mask_ap import CocoMaskAveragePrecision
from lit_detseg.metrics.proposal_recall import ProposalRecall
from lit_detseg.models.backbones import Backbone
from lit_detseg.models.detectors.fast_rcnn import FastRCNNDetector
from lit_detseg.models.detectors.faster_rcnn import FasterRCNNDetector
from lit_detseg.models.detectors.mask_rcnn import MaskRCNNDetector
from lit_detseg.models.detectors.region_proposals import RegionProposalDetector
from lit_detseg.models.mask_stage import MaskSettings, MaskStage
from lit_detseg.models.proposals import AnchorLearning, AnchorSettings, ProposalSettings
from lit_detseg.models.roi_stage import (
    FAST_RCNN_DETECTIONS,
    FAST_RCNN_ROIS,
    DetectionSettings,
    RoISettings,
    RoIStage,
)
from lit_detseg.modules.base import DetectionModule
from lit_detseg.modules.two_stage_settings import (
    chosen_backbone,
    faster_rcnn_settings,
    known_classes,
    mask_rcnn_settings,
)
from lit_detseg.structures import DetectionBatch


class FastRCNN(DetectionModule):
    """Fast R-CNN (arXiv:1504.08083) on proposals that the data bring (`data.proposals`).

    Losses: `classification`, `box_regression`.

    Before a new run trains, mean and deviation of the box offsets of each class are measured on the
    training set (section 2.3; `rois.measure_offsets`), from what the data module gives.

    Args:
        num_classes: without background; the command line takes it from the shards.
        backbone: name of a backbone, or one that is built already.
        backbone_weights: of a named backbone: `none`, a file, or a name that torchvision knows.
        trainable_stages: how many of a named backbone's stages learn, counted from the output.
        rois: how proposals are pooled, and which are learned from.
        detections: which boxes are answered.
        head_width: width of the box head's layers, where the backbone brings none of its own.
        optimizer: SGD as in section 2.3 when not given.
        bias_lr_factor: likewise.
        training: see `DetectionModule`.

    Raises:
        UserError: when `num_classes` is missing, or settings do not fit the backbone.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        backbone: Backbone | str = "vgg16",
        backbone_weights: str = "none",
        trainable_stages: int | None = None,
        rois: RoISettings = FAST_RCNN_ROIS,
        detections: DetectionSettings = FAST_RCNN_DETECTIONS,
        head_width: int = 1024,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(
            parameters, lr=0.001, momentum=0.9, weight_decay=0.0005
        ),
        bias_lr_factor: float = 2.0,
        **training: Any,
    ) -> None:
        classes = known_classes(num_classes)
        backbone = chosen_backbone(backbone, backbone_weights, trainable_stages)
        roi_stage = RoIStage.over(backbone, classes, rois, detections, head_width)
        super().__init__(
            FastRCNNDetector(backbone, roi_stage),
            optimizer=optimizer,
            bias_lr_factor=bias_lr_factor,
            **training,
        )

    def on_fit_start(self) -> None:
        """Measure the offsets, unless the weights came with them."""
        assert isinstance(self.model, FastRCNNDetector)
        stage = self.model.roi_stage
        continued = self.trainer.ckpt_path is not None
        if not stage.rois.measure_offsets or continued or stage.knows_offsets:
            return
        regions = getattr(self._data_module, "regions_to_learn", None)
        if regions is None:
            rank_zero_warn(
                "The data module has no `regions_to_learn`: box offsets are divided by "
                f"{stage.rois.offset_std}, not by deviations measured for each class."
            )
            return
        as_tensors = ((torch.from_numpy(one) for one in image) for image in regions())
        statistics = measure_offsets(
            ((proposals, Objects(boxes, labels)) for proposals, boxes, labels in as_tensors),
            stage.head.class_logits.out_features - 1,
            stage.rois.foreground_iou,
            stage.rois.offset_std,
        )
        stage.normalise_offsets(statistics)


class RegionProposals(DetectionModule):
    """Faster R-CNN's region proposal network alone (arXiv:1506.01497, section 3.1).

    Steps 1 and 3 of its alternating training; `lit-detseg propose` stores what it finds. It knows
    no classes: the score to watch is the share of all objects that the proposals find.

    Losses: `rpn_objectness`, `rpn_box`.

    Args:
        backbone: as in `FasterRCNN`, like all that follows.
        backbone_weights: of a named backbone; head layers among them are not used.
        trainable_stages: of a named backbone; 0 in step 3.
        anchors: where the anchors are.
        anchor_learning: which of them are learned from.
        proposals: which boxes are answered.
        rpn_channels: width of the region proposal network.
        metric: recall at 300 and 1000 proposals when not given.
        optimizer: SGD as in section 3.1.3 when not given.
        training: see `DetectionModule`.
    """

    def __init__(
        self,
        backbone: Backbone | str = "vgg16",
        backbone_weights: str = "none",
        trainable_stages: int | None = None,
        anchors: AnchorSettings | None = None,
        anchor_learning: AnchorLearning | None = None,
        proposals: ProposalSettings | None = None,
        rpn_channels: int | None = None,
        metric: Metric | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(
            parameters, lr=0.001, momentum=0.9, weight_decay=0.0005
        ),
        **training: Any,
    ) -> None:
        backbone = chosen_backbone(backbone, backbone_weights, trainable_stages)
        settings = faster_rcnn_settings(backbone).with_given(
            anchors=anchors,
            anchor_learning=anchor_learning,
            proposals=proposals,
            rpn_channels=rpn_channels,
        )
        detector = RegionProposalDetector(backbone, settings.build_rpn(backbone))
        metric = ProposalRecall() if metric is None else metric
        super().__init__(detector, metric, optimizer, **training)

    def validation_step(self, batch: DetectionBatch, batch_index: int) -> Any:
        """Compare proposals with ground truth; hundreds of boxes of no class are not drawn."""
        super().validation_step(batch, batch_index)
        return []


class FasterRCNN(DetectionModule):
    """Faster R-CNN (arXiv:1506.01497), its four losses trained jointly.

    Losses: `rpn_objectness`, `rpn_box`, `classification`, `box_regression`.

    What is left out is the paper's for a backbone with one feature map, and FPN's
    (arXiv:1612.03144) for one with several.

    Args:
        num_classes: without background; the command line takes it from the shards.
        backbone: as in `FastRCNN`; likewise the following.
        backbone_weights: of a named backbone.
        trainable_stages: of a named backbone.
        anchors: where the anchors are.
        anchor_learning: which of them are learned from; its `balance` chooses between the paper's
            loss and that of the released code.
        proposals: which boxes the first stage hands to the second.
        rois: how they are pooled, and which are learned from.
        detections: which boxes are answered.
        rpn_channels: width of the region proposal network.
        head_width: width of the box head's layers, where the backbone brings none of its own.
        optimizer: SGD as in section 3.1.3 when not given.
        training: see `DetectionModule`.

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
        head_width: int | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(
            parameters, lr=0.001, momentum=0.9, weight_decay=0.0005
        ),
        **training: Any,
    ) -> None:
        classes = known_classes(num_classes)
        backbone = chosen_backbone(backbone, backbone_weights, trainable_stages)
        settings = faster_rcnn_settings(backbone).with_given(
            anchors=anchors,
            anchor_learning=anchor_learning,
            proposals=proposals,
            rois=rois,
            detections=detections,
            rpn_channels=rpn_channels,
            head_width=head_width,
        )
        detector = FasterRCNNDetector(
            backbone, settings.build_rpn(backbone), settings.build_roi_stage(backbone, classes)
        )
        super().__init__(detector, optimizer=optimizer, **training)


class MaskRCNN(DetectionModule):
    """Mask R-CNN (arXiv:1703.06870), its five losses trained jointly.

    Losses: `rpn_objectness`, `rpn_box`, `classification`, `box_regression`, `mask`.

    What is left out is the paper's: C4 for a backbone with one feature map, FPN for several.

    Args:
        num_classes: without background; the command line takes it from the shards.
        backbone: as in `FastRCNN`; likewise the following.
        backbone_weights: of a named backbone.
        trainable_stages: of a named backbone.
        anchors: as in `FasterRCNN`; likewise the following.
        anchor_learning: which of them are learned from.
        proposals: which boxes the first stage hands to the others.
        rois: how boxes are pooled for the box branch, and which are learned from.
        detections: which boxes are answered.
        masks: how boxes are pooled for the mask branch, and what it learns.
        rpn_channels: width of the region proposal network.
        head_width: width of the box head's layers, where the backbone brings none of its own.
        metric: COCO's average precision of masks and boxes when not given.
        optimizer: SGD as in section 3.1 when not given.
        training: see `DetectionModule`.

    Raises:
        UserError: when `num_classes` is missing, or settings do not fit the backbone.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        backbone: Backbone | str = "resnet50_fpn",
        backbone_weights: str = "none",
        trainable_stages: int | None = None,
        anchors: AnchorSettings | None = None,
        anchor_learning: AnchorLearning | None = None,
        proposals: ProposalSettings | None = None,
        rois: RoISettings | None = None,
        detections: DetectionSettings | None = None,
        masks: MaskSettings | None = None,
        rpn_channels: int | None = None,
        head_width: int | None = None,
        metric: Metric | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(
            parameters, lr=0.02, momentum=0.9, weight_decay=0.0001
        ),
        **training: Any,
    ) -> None:
        classes = known_classes(num_classes)
        backbone = chosen_backbone(backbone, backbone_weights, trainable_stages)
        settings = mask_rcnn_settings(backbone).with_given(
            anchors=anchors,
            anchor_learning=anchor_learning,
            proposals=proposals,
            rois=rois,
            detections=detections,
            masks=masks,
            rpn_channels=rpn_channels,
            head_width=head_width,
        )
        detector = MaskRCNNDetector(
            backbone,
            settings.build_rpn(backbone),
            settings.build_roi_stage(backbone, classes),
            MaskStage.over(backbone, classes, settings.masks),
        )
        metric = CocoMaskAveragePrecision() if metric is None else metric
        super().__init__(detector, metric, optimizer, **training)
