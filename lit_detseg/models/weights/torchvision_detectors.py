"""Torchvision's Faster and Mask R-CNN with ResNet-50-FPN: their settings, and their weights.

Version 1 is `fasterrcnn_resnet50_fpn` and `maskrcnn_resnet50_fpn`; version 2 the same names with
`_v2` behind (batch normalisation everywhere, a second convolution in the region proposal network,
four in the box head). With the same weights they give the losses, boxes and masks of torchvision's;
`FasterRCNNDetector` lists what remains different.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.ops import FrozenBatchNorm2d

from lit_detseg.models.backbones.resnet import ResNetFPN
from lit_detseg.models.detectors.faster_rcnn import FasterRCNNDetector
from lit_detseg.models.detectors.mask_rcnn import MaskRCNNDetector
from lit_detseg.models.heads.box import BoxHead, convolutions_and_one_layer, fully_connected
from lit_detseg.models.mask_stage import MaskSettings, MaskStage
from lit_detseg.models.proposals import (
    AnchorLearning,
    AnchorSettings,
    ProposalSettings,
    RegionProposalNetwork,
)
from lit_detseg.models.roi_stage import DetectionSettings, RoISettings, RoIStage
from lit_detseg.models.weights.files import SUFFIXES, read_weights
from lit_detseg.models.weights.pretrained import FROM_CHECKPOINT, NONE
from lit_detseg.models.weights.torchvision import named_weights
from lit_detseg.structures import UserError

logger = logging.getLogger(__name__)

Version = Literal[1, 2]

ANCHORS = AnchorSettings(
    sizes=((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)), rounding="torchvision", center=0.0
)
LEARNING = AnchorLearning(ignore_crossing=False, balance="released_code")
PROPOSALS = ProposalSettings(2000, 2000, 1000, 1000, nms_iou=0.7, min_side=1e-3)
ROIS = RoISettings("roi_align_legacy", num_samples=512, beta=1 / 9)
DETECTIONS = DetectionSettings(min_score=0.05, nms_iou=0.5, max_detections=100)
MASKS = MaskSettings("roi_align_legacy", targets="resampled")

BINS = 7  # along each side of a RoI, for its box
COCO_NETWORK = "fasterrcnn_resnet50_fpn"  # whose 91 class names all share


class TorchvisionFasterRCNN(FasterRCNNDetector):
    """`fasterrcnn_resnet50_fpn` or `fasterrcnn_resnet50_fpn_v2`.

    Args:
        num_classes: without background. With COCO's 80, those of the 91 rows of torchvision's
            published weights are taken that stand for a class; with another number than the weights
            have, the last layers start anew.
        version: torchvision's.
        weights: `none`; a name that torchvision knows (`DEFAULT`, `COCO_V1`); a file in its form;
            or `from_checkpoint`, for a model that will be filled by a checkpoint of ours.
        trainable_stages: how many of the stem and the four stages of the ResNet learn.

    Raises:
        UserError: when the weights cannot be found or do not fit.
    """

    def __init__(
        self,
        num_classes: int,
        version: Version = 1,
        weights: str = NONE,
        trainable_stages: int = 3,
    ) -> None:
        backbone = _backbone(version, trainable_stages)
        super().__init__(backbone, _rpn(version), _roi_stage(backbone, num_classes, version))
        load_torchvision(self, "fasterrcnn_resnet50_fpn", version, weights)


class TorchvisionMaskRCNN(MaskRCNNDetector):
    """`maskrcnn_resnet50_fpn` or `maskrcnn_resnet50_fpn_v2`.

    Args:
        num_classes: as in `TorchvisionFasterRCNN`; likewise the following.
        version: torchvision's.
        weights: where they are.
        trainable_stages: of the ResNet.

    Raises:
        UserError: when the weights cannot be found or do not fit.
    """

    def __init__(
        self,
        num_classes: int,
        version: Version = 1,
        weights: str = NONE,
        trainable_stages: int = 3,
    ) -> None:
        backbone = _backbone(version, trainable_stages)
        masks = MASKS if version == 1 else replace(MASKS, norm="batch")
        super().__init__(
            backbone,
            _rpn(version),
            _roi_stage(backbone, num_classes, version),
            MaskStage.over(backbone, num_classes, masks),
        )
        load_torchvision(self, "maskrcnn_resnet50_fpn", version, weights)


def load_torchvision(
    detector: FasterRCNNDetector | MaskRCNNDetector, network: str, version: Version, weights: str
) -> None:
    """Fill a detector with what `weights` names, if that is anything to load now.

    Raises:
        UserError: when the weights cannot be found or do not fit.
    """
    if weights in (NONE, FROM_CHECKPOINT):
        return
    name = network if version == 1 else f"{network}_v2"
    is_file = "/" in weights or Path(weights).suffix in SUFFIXES
    values = read_weights(Path(weights).expanduser()) if is_file else named_weights(name, weights)
    num_rows = len(values["roi_heads.box_predictor.cls_score.bias"])
    theirs = get_model(name, weights=None, weights_backbone=None, num_classes=num_rows)
    try:
        theirs.load_state_dict(values)  # translates the names of older versions too
    except RuntimeError as error:
        raise UserError(
            f'"{weights}" is not a {name} of torchvision: {str(error).splitlines()[1].strip()}'
        ) from error
    copy_torchvision(theirs, detector)
    if weights.endswith("COCO_V1") and version == 1:
        for module in detector.modules():
            if isinstance(module, FrozenBatchNorm2d):
                module.eps = 0.0  # as these weights were trained


def copy_torchvision(theirs: Any, detector: FasterRCNNDetector | MaskRCNNDetector) -> None:
    """Copy the weights of a model of torchvision's into ours of the same version.

    Where the numbers of classes do not go together, the last layers keep what they have.
    """
    for ours, source in _counterparts(detector, theirs):
        ours.load_state_dict(source.state_dict(), strict=False)  # but for counters of batches
    head, heads = detector.roi_stage.head, theirs.roi_heads
    rows = class_rows(head.class_logits.out_features, heads.box_predictor.cls_score.out_features)
    if rows is None:
        logger.info("The weights are for other classes: the last layers start anew.")
        return
    _copy_rows(head.class_logits, heads.box_predictor.cls_score, rows)
    boxes = [4 * row + side for row in rows for side in range(4)]
    _copy_rows(head.offsets, heads.box_predictor.bbox_pred, boxes)
    if isinstance(detector, MaskRCNNDetector):
        logits = detector.mask_stage.head.logits
        _copy_rows(logits, heads.mask_predictor.mask_fcn_logits, rows[1:])


def class_rows(num_wanted: int, num_rows: int) -> list[int] | None:
    """Which rows of torchvision's last layers are the background and the classes of ours, in order.

    Args:
        num_wanted: our classes and the background.
        num_rows: those of the weights.

    Returns:
        All, when there are as many; for COCO's 80 classes the 81 of its 91 rows that stand for a
        class or the background; otherwise None.
    """
    if num_rows == num_wanted:
        return list(range(num_rows))
    names = get_model_weights(COCO_NETWORK)["COCO_V1"].meta["categories"]
    known = [row for row, name in enumerate(names) if name != "N/A"]
    return known if (num_rows, num_wanted) == (len(names), len(known)) else None


def _counterparts(
    ours: FasterRCNNDetector | MaskRCNNDetector, theirs: Any
) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Pairs of modules with the same parameters, all but the last layers."""
    body, backbone = theirs.backbone.body, ours.backbone
    assert isinstance(backbone, ResNetFPN)
    yield backbone.stem[0], body.conv1
    yield backbone.stem[1], body.bn1
    yield from zip(
        backbone.stages, (body.layer1, body.layer2, body.layer3, body.layer4), strict=True
    )
    yield backbone.neck.pyramid, theirs.backbone.fpn
    yield from zip(_layers(ours.rpn.head.convs), _layers(theirs.rpn.head.conv), strict=True)
    yield ours.rpn.head.objectness, theirs.rpn.head.cls_logits
    yield ours.rpn.head.offsets, theirs.rpn.head.bbox_pred
    heads = theirs.roi_heads
    yield from zip(_layers(ours.roi_stage.head.layers), _layers(heads.box_head), strict=True)
    if isinstance(ours, MaskRCNNDetector):
        head = ours.mask_stage.head
        yield from zip(_layers(head.convs), _layers(heads.mask_head), strict=True)
        yield head.upsample, heads.mask_predictor.conv5_mask


def _layers(module: nn.Module) -> list[nn.Module]:
    """The layers inside that have parameters of their own, in order."""
    return [one for one in module.modules() if list(one.parameters(recurse=False))]


def _copy_rows(ours: nn.Linear | nn.Conv2d, theirs: nn.Linear | nn.Conv2d, rows: list[int]) -> None:
    chosen = {name: values[rows] for name, values in theirs.state_dict().items()}
    ours.load_state_dict(chosen)


def _backbone(version: Version, trainable_stages: int) -> ResNetFPN:
    """Frozen batch normalisation in version 1, synchronised one in version 2."""
    if version == 1:
        return ResNetFPN("resnet50", FROM_CHECKPOINT, trainable_stages, "frozen_batch")
    return ResNetFPN("resnet50", FROM_CHECKPOINT, trainable_stages, "sync_batch", fpn_norm="batch")


def _rpn(version: Version) -> RegionProposalNetwork:
    return RegionProposalNetwork(
        256, (4, 8, 16, 32, 64), 256, ANCHORS, LEARNING, PROPOSALS, num_convs=version
    )


def _roi_stage(backbone: ResNetFPN, num_classes: int, version: Version) -> RoIStage:
    layers = (
        fully_connected(256, BINS)
        if version == 1
        else convolutions_and_one_layer(256, BINS, norm=nn.SyncBatchNorm)
    )
    head = BoxHead(num_classes, layers)
    return RoIStage(head, backbone.strides[: backbone.roi_levels], ROIS, DETECTIONS)
