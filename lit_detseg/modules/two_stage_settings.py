"""The numbers of each two-stage detector, as its paper states them for a backbone."""

from dataclasses import dataclass, replace
from typing import Any

from lit_detseg.models.backbones import Backbone, build_backbone
from lit_detseg.models.mask_stage import PAPER_MASKS, MaskSettings
from lit_detseg.models.proposals import (
    PAPER_ANCHORS,
    PAPER_LEARNING,
    PAPER_PROPOSALS,
    AnchorLearning,
    AnchorSettings,
    ProposalSettings,
    RegionProposalNetwork,
)
from lit_detseg.models.roi_stage import (
    PAPER_DETECTIONS,
    PAPER_ROIS,
    DetectionSettings,
    RoISettings,
    RoIStage,
)
from lit_detseg.structures import UserError


@dataclass(frozen=True)
class TwoStageSettings:
    """A complete set of a two-stage detector's numbers."""

    anchors: AnchorSettings = PAPER_ANCHORS
    anchor_learning: AnchorLearning = PAPER_LEARNING
    proposals: ProposalSettings = PAPER_PROPOSALS
    rois: RoISettings = PAPER_ROIS
    detections: DetectionSettings = PAPER_DETECTIONS
    masks: MaskSettings = PAPER_MASKS
    rpn_channels: int = 512
    head_width: int = 1024

    def with_given(self, **given: Any) -> "TwoStageSettings":
        """The same with what is not None in place of its own."""
        return replace(self, **{name: one for name, one in given.items() if one is not None})

    def build_rpn(self, backbone: Backbone) -> RegionProposalNetwork:
        """The first stage over a backbone's maps."""
        return RegionProposalNetwork(
            backbone.out_channels,
            backbone.strides,
            self.rpn_channels,
            self.anchors,
            self.anchor_learning,
            self.proposals,
        )

    def build_roi_stage(self, backbone: Backbone, num_classes: int) -> RoIStage:
        """The second stage over a backbone's maps."""
        return RoIStage.over(
            backbone, num_classes, self.rois, self.detections, head_width=self.head_width
        )


# Faster R-CNN as published, for one map of stride 16 (see the defaults of each class).
ONE_MAP = TwoStageSettings()


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


def faster_rcnn_settings(backbone: Backbone) -> TwoStageSettings:
    """Faster R-CNN: the paper's for one map, FPN's for several."""
    if len(backbone.strides) > 1:
        return pyramid_settings(backbone.strides)
    layers = backbone.head_layers
    bins = PAPER_ROIS.output_size if layers is None else layers.bins
    return replace(ONE_MAP, rois=replace(PAPER_ROIS, output_size=bins))


def mask_rcnn_settings(backbone: Backbone) -> TwoStageSettings:
    """Mask R-CNN (arXiv:1703.06870, section 3.1): RoIAlign; 64 RoIs of an image (C4), 512 (FPN).

    On one map the anchors have the five sizes of the pyramid; 300 proposals are judged (1000 with
    the pyramid). The paper's NMS is Fast R-CNN's, at an IoU of 0.3; its released baselines have
    0.5.
    """
    settings = faster_rcnn_settings(backbone)
    if len(backbone.strides) > 1:
        return replace(settings, detections=DetectionSettings(nms_iou=0.3))
    bins = settings.rois.output_size
    return replace(
        settings,
        anchors=AnchorSettings(sizes=((32.0, 64.0, 128.0, 256.0, 512.0),)),
        proposals=replace(PAPER_PROPOSALS, min_side=0.0),
        rois=replace(settings.rois, pooling="roi_align", num_samples=64),
        masks=replace(PAPER_MASKS, output_size=bins),
    )


def chosen_backbone(
    backbone: Backbone | str, weights: str, trainable_stages: int | None
) -> Backbone:
    """A backbone by name, or one that is there already.

    Raises:
        UserError: when weights or stages are given for one that is there already.
    """
    if isinstance(backbone, str):
        return build_backbone(backbone, weights, trainable_stages)
    if weights != "none" or trainable_stages is not None:
        raise UserError(
            "backbone_weights and trainable_stages go with the name of a backbone; "
            "this one was given as an object. Set them there."
        )
    return backbone


def known_classes(num_classes: int | None) -> int:
    """The number of classes.

    Raises:
        UserError: when nobody has said it.
    """
    if num_classes is None:
        raise UserError(
            "num_classes is missing. The command line reads it from the shards; "
            "in Python give the number of classes, without background."
        )
    return num_classes
