"""The networks of R-CNN (arXiv:1311.2524): classifiers of crops of a fixed size, cut at pool5.

Names:
    crop:  what a region becomes, see `lit_detseg.ops.warping`.
    pool5: the output of the last pooling, as a vector; R-CNN keeps that of every region on disk.
"""

import difflib
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lit_detseg.models.backbones.alexnet import AlexNet, CaffeNet
from lit_detseg.models.backbones.backbone import Backbone, HeadLayers
from lit_detseg.models.backbones.fully_connected import fc6_fc7
from lit_detseg.models.backbones.squeezenet import SqueezeNet
from lit_detseg.models.backbones.vgg import VGG16
from lit_detseg.models.normalization import PixelNormalization
from lit_detseg.models.weights.pretrained import NONE
from lit_detseg.ops.warping import CropMode
from lit_detseg.structures import UserError

ALL_STAGES = {"caffenet": 5, "alexnet": 5, "vgg16": 5, "squeezenet1_0": 4}
REGION_NETWORKS = tuple(ALL_STAGES)
SQUEEZENET_BINS = 3


class Crops(NamedTuple):
    """How regions become the network's input.

    Args:
        side: pixels.
        context: pixels of a crop that show what is around its region; 16 of 227 in the paper.
        mode: see `lit_detseg.ops.warping.warp_regions`.
    """

    side: int
    context: int = 16
    mode: CropMode = "warp"


class RegionNetwork(nn.Module):
    """From crops to pool5.

    Args:
        backbone: gives one map of a crop.
        pool5: the last pooling.
        num_pooled: numbers in the pooled map of a crop.
        head: fc6 and fc7, which belong to the detector.
        crops: that the network sees.

    Raises:
        UserError: when context leaves no room in a crop.
    """

    def __init__(
        self, backbone: Backbone, pool5: nn.Module, num_pooled: int, head: HeadLayers, crops: Crops
    ) -> None:
        super().__init__()
        if not 0 <= 2 * crops.context < crops.side:
            raise UserError(
                f"A crop of {crops.side} pixels with {crops.context} pixels of context on each "
                "side has no room for its region. Use less context: 7 % of the side in the paper."
            )
        self.backbone = backbone
        self.pool5 = pool5
        self.num_pooled = num_pooled
        self.head = head
        self.crops = crops

    @property
    def normalization(self) -> PixelNormalization:
        """Of whole images, before anything is cut out of them."""
        return self.backbone.normalization

    def forward(self, crops: Float[Tensor, "crops 3 side side"]) -> Float[Tensor, "crops pooled"]:
        """pool5 of each crop."""
        # On CPUs twice as fast as planes one after the other, and as fast elsewhere.
        crops = crops.contiguous(memory_format=torch.channels_last)
        return self.pool5(self.backbone.extract(crops)[-1]).flatten(1)


def build_region_network(
    name: str,
    weights: str = NONE,
    trainable_stages: int | None = None,
    side: int | None = None,
    context: int = 16,
    mode: CropMode = "warp",
    head_width: int = 1024,
    pixel_statistics: str = "auto",
) -> RegionNetwork:
    """A network by name, which learns from the pixels on: R-CNN freezes nothing.

    Args:
        name: one of `REGION_NETWORKS`. `caffenet` is the paper's "T-Net", `vgg16` its "O-Net".
        weights: `none`, `from_checkpoint`, a file, or a torchvision name; see `find_pretrained`.
        trainable_stages: how many stages learn, counted from pool5; not given: all.
        side: of the crops. Fixed by fc6, 227 (`caffenet`, `alexnet`) or 224 (`vgg16`), but for
            `squeezenet1_0`: any, 227 when not given.
        context: see `Crops`; likewise `mode`.
        mode: of cropping.
        head_width: of fc6 and fc7 where the network brings none (`squeezenet1_0`).
        pixel_statistics: see `find_pretrained`.

    Raises:
        UserError: when the name is unknown, or the side does not fit.
    """
    if name not in REGION_NETWORKS:
        nearest = difflib.get_close_matches(name, REGION_NETWORKS, n=1, cutoff=0)[0]
        raise UserError(
            f'R-CNN has no network "{name}". Nearest: "{nearest}"; known: '
            f"{', '.join(REGION_NETWORKS)}."
        )
    if trainable_stages is None:
        trainable_stages = ALL_STAGES[name]
    if name == "squeezenet1_0":
        squeezenet = SqueezeNet(weights, trainable_stages, pixel_statistics)
        return _with_new_head(squeezenet, head_width, Crops(side or 227, context, mode))
    fixed = 224 if name == "vgg16" else 227
    if side not in (None, fixed):
        raise UserError(
            f"{name} sees crops of {fixed} pixels, not {side}: its fc6 is made for them. Leave the "
            "side out, or use squeezenet1_0."
        )
    backbone: Backbone
    pool5 = nn.MaxPool2d(3, stride=2)
    match name:
        case "caffenet":
            backbone = CaffeNet(weights, trainable_stages, pixel_statistics, padded=False)
        case "alexnet":
            backbone = AlexNet(weights, trainable_stages, pixel_statistics, padded=False)
        case _:
            backbone = VGG16(weights, trainable_stages, pixel_statistics)
            pool5 = nn.MaxPool2d(2, stride=2)
    head = backbone.head_layers
    assert head is not None, f"{name} brings fc6 and fc7"
    num_pooled = backbone.out_channels * head.bins**2
    return RegionNetwork(backbone, pool5, num_pooled, head, Crops(fixed, context, mode))


def _with_new_head(backbone: Backbone, head_width: int, crops: Crops) -> RegionNetwork:
    """fire9 pooled to 3 x 3, half as many numbers as AlexNet's pool5; a new fc6 and fc7."""
    channels, bins = backbone.out_channels, SQUEEZENET_BINS
    num_pooled = channels * bins**2
    layers = fc6_fc7(num_pooled, head_width)
    head = HeadLayers(nn.Identity(), layers, head_width, bins, trunk_channels=channels)
    return RegionNetwork(backbone, nn.AdaptiveMaxPool2d(bins), num_pooled, head, crops)
