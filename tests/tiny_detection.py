"""What tests of detectors start from: small images, their objects, tiny detectors."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lit_detseg.models.backbones.backbone import Backbone, HeadLayers
from lit_detseg.models.backbones.fully_connected import fc6_fc7
from lit_detseg.models.detectors.fast_rcnn import FastRCNNDetector
from lit_detseg.models.detectors.faster_rcnn import FasterRCNNDetector
from lit_detseg.models.detectors.fcis import FCISDetector
from lit_detseg.models.detectors.mask_rcnn import MaskRCNNDetector
from lit_detseg.models.detectors.rcnn import RCNNDetector
from lit_detseg.models.detectors.region_proposals import RegionProposalDetector
from lit_detseg.models.detectors.spp_net import SPPNetDetector
from lit_detseg.models.fcis_settings import FCISDetectionSettings, FCISRoISettings
from lit_detseg.models.fcis_stage import FCISStage
from lit_detseg.models.mask_stage import MaskSettings, MaskStage
from lit_detseg.models.normalization import PixelStatistics
from lit_detseg.models.proposals import AnchorSettings, ProposalSettings, RegionProposalNetwork
from lit_detseg.models.region_network import Crops, RegionNetwork
from lit_detseg.models.roi_stage import RoIStage
from lit_detseg.ops.masks import pack_masks
from lit_detseg.structures import BoxTarget, Images, InstanceMasks

ZERO_TO_ONE = PixelStatistics(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))

FEW_PROPOSALS = ProposalSettings(
    training_before_nms=200, training_after_nms=40, before_nms=200, after_nms=40, min_side=2.0
)


class TinyBackbone(Backbone):
    """Maps of strides 4 and 8, eight channels, nothing pretrained."""

    def __init__(self, roi_levels: int = 2) -> None:
        super().__init__((4, 8), 8, ZERO_TO_ONE, roi_levels)
        self.fine = nn.Conv2d(3, 8, kernel_size=5, stride=4, padding=2)
        self.coarse = nn.Conv2d(8, 8, kernel_size=3, stride=2, padding=1)

    def extract(self, pixels: Tensor) -> list[Tensor]:
        fine = self.fine(pixels).relu()
        return [fine, self.coarse(fine).relu()]


class TinyOneMap(Backbone):
    """One map of stride 8, 16 channels, nothing pretrained; each cell sees 41 pixels a side."""

    def __init__(self) -> None:
        super().__init__((8,), 16, ZERO_TO_ONE)
        self.first = nn.Conv2d(3, 16, kernel_size=9, stride=8, padding=4)
        self.second = nn.Conv2d(16, 16, kernel_size=3, padding=1)
        self.third = nn.Conv2d(16, 16, kernel_size=3, padding=1)

    def extract(self, pixels: Tensor) -> list[Tensor]:
        return [self.third(self.second(self.first(pixels).relu()).relu()).relu()]


def tiny_rpn(backbone: Backbone, **settings: Any) -> RegionProposalNetwork:
    """Three anchors per cell of each map of a `TinyBackbone`."""
    settings.setdefault("proposals", ProposalSettings(min_side=0.0))
    settings.setdefault("anchors", AnchorSettings(sizes=((16.0,), (32.0,))))
    settings.setdefault("hidden_channels", 16)
    return RegionProposalNetwork(backbone.out_channels, backbone.strides, **settings)


def tiny_region_proposals() -> RegionProposalDetector:
    """A region proposal network of a few thousand parameters; the same each time."""
    torch.manual_seed(0)
    backbone = TinyBackbone()
    return RegionProposalDetector(backbone, tiny_rpn(backbone))


def tiny_fast_rcnn(num_classes: int = 3, **settings: Any) -> FastRCNNDetector:
    """A Fast R-CNN of a few thousand parameters; the same each time."""
    torch.manual_seed(0)
    backbone = TinyBackbone()
    return FastRCNNDetector(
        backbone, RoIStage.over(backbone, num_classes, head_width=32, **settings)
    )


def tiny_faster_rcnn(
    num_classes: int = 3, backbone: Backbone | None = None, rpn: Any = None, **settings: Any
) -> FasterRCNNDetector:
    """A Faster R-CNN of a few thousand parameters; the same each time."""
    torch.manual_seed(0)
    backbone = backbone or TinyBackbone()
    stage = RoIStage.over(backbone, num_classes, head_width=32, **settings)
    return FasterRCNNDetector(backbone, tiny_rpn(backbone, **(rpn or {})), stage)


def tiny_mask_rcnn(num_classes: int = 3, masks: MaskSettings | None = None) -> MaskRCNNDetector:
    """A Mask R-CNN of a few thousand parameters; the same each time."""
    torch.manual_seed(0)
    backbone = TinyBackbone()
    masks = masks or MaskSettings(output_size=4, num_convs=1, hidden_channels=8)
    return MaskRCNNDetector(
        backbone,
        tiny_rpn(backbone),
        RoIStage.over(backbone, num_classes, head_width=32),
        MaskStage.over(backbone, num_classes, masks),
    )


def tiny_fcis(
    num_classes: int = 3, rois: FCISRoISettings | None = None, **detections: Any
) -> FCISDetector:
    """An FCIS of a few thousand parameters, with 3 x 3 parts; the same each time."""
    torch.manual_seed(0)
    backbone = TinyOneMap()
    rois = rois or FCISRoISettings(groups=3, cells=9, hidden_channels=32, num_samples=32)
    answered = FCISDetectionSettings(**{"min_side": 2.0, **detections})
    return FCISDetector(
        backbone,
        tiny_rpn(backbone, anchors=AnchorSettings(sizes=((16.0, 32.0),)), proposals=FEW_PROPOSALS),
        FCISStage.over(backbone, num_classes, rois, answered),
    )


def tiny_region_network() -> RegionNetwork:
    """Crops of 24 pixels to 32 numbers; the same each time."""
    torch.manual_seed(0)
    head = HeadLayers(nn.Identity(), fc6_fc7(8 * 2 * 2, 32), 32, bins=2, trunk_channels=8)
    return RegionNetwork(
        TinyBackbone(), nn.AdaptiveMaxPool2d(2), 8 * 2 * 2, head, Crops(24, context=2)
    )


def tiny_rcnn(num_classes: int = 3, **settings: Any) -> RCNNDetector:
    """An R-CNN of a few thousand parameters; the same each time."""
    return RCNNDetector(tiny_region_network(), num_classes, **settings)


def tiny_spp_net(num_classes: int = 3, **settings: Any) -> SPPNetDetector:
    """An SPP-net of a few thousand parameters; the same each time."""
    torch.manual_seed(0)
    settings = {"scales": (48, 64), "levels": (2, 1), "first_middle": 4.0, **settings}
    layers = fc6_fc7(8 * 5, 32)
    return SPPNetDetector(TinyBackbone(), num_classes, layers, 32, **settings)


def box_masks(boxes: list[list[float]]) -> InstanceMasks:
    """Masks that fill these XYXY boxes, as polygons, in an image that was not resized."""
    polygons = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes]
    placements = np.tile([1.0, 1, 0, 0], (len(boxes), 1))
    windows = np.tile([0.0, 0, 1000, 1000], (len(boxes), 1))
    return pack_masks(polygons, [(64, 96)] * len(boxes), placements, windows)


def make_target(boxes: list[list[float]], labels: list[int], masks: bool = False) -> BoxTarget:
    """Ground truth that is neither crowd nor difficult, in an image that was not resized."""
    xyxy = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    no = torch.zeros(len(boxes), dtype=torch.bool)
    return BoxTarget(
        boxes=xyxy,
        labels=torch.tensor(labels, dtype=torch.int64),
        image_id="image",
        original_size=(64, 96),
        is_crowd=no,
        is_difficult=no,
        original_boxes=xyxy.double(),
        areas=(xyxy[:, 2:] - xyxy[:, :2]).double().prod(dim=1),
        masks=box_masks(boxes) if masks else None,
    )


def make_images(sizes: list[tuple[int, int]], seeds: list[int] | None = None) -> Images:
    """Noise, padded with black to the largest; the same for the same sizes."""
    generator = torch.Generator().manual_seed(len(sizes))
    height, width = (max(lengths) for lengths in zip(*sizes, strict=True))
    pixels = torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8)
    for image, (h, w) in zip(pixels, sizes, strict=True):
        image[:, :h, :w] = torch.randint(0, 256, (3, h, w), generator=generator)
    if seeds is None:
        seeds = list(range(len(sizes)))
    return Images(pixels, torch.tensor(sizes), seeds=torch.tensor(seeds))
