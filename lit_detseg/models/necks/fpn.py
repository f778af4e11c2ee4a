"""Feature pyramid network (arXiv:1612.03144, section 3)."""

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

CHANNELS_PER_GROUP = 16  # group normalisation, arXiv:1803.08494, table 3

PyramidNorm = Literal["none", "group", "batch"]
NORM_LAYERS: dict[PyramidNorm, Callable[[int], nn.Module] | None] = {
    "none": None,
    "group": lambda channels: nn.GroupNorm(channels // CHANNELS_PER_GROUP, channels),
    "batch": nn.SyncBatchNorm,
}


class FeaturePyramid(nn.Module):
    """Give every level of a bottom-up pathway the semantics of the coarsest.

    Lateral 1x1 convolutions, nearest upsampling and addition from coarse to fine, one 3x3
    convolution on each sum, no activation; torchvision's, on lists instead of dictionaries.
    Upsampling is to the size of the finer map, so that image sizes need not divide by anything.

    Args:
        in_channels: of each map, finest first.
        out_channels: of every returned map (256 in the paper).
        extra_level: append the coarsest level, subsampled by 2 (P6, section 4.1, footnote 2).
        norm: normalise after each convolution. Not in the paper; needed over features that no
            normalisation layer has kept at unit scale, and when training from scratch.
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        extra_level: bool = True,
        norm: PyramidNorm = "none",
    ) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(
            in_channels,
            out_channels,
            extra_blocks=LastLevelMaxPool() if extra_level else None,
            norm_layer=NORM_LAYERS[norm],
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps (B, C_l, H_l, W_l), finest first, to maps (B, `out_channels`, H_l, W_l)."""
        named = {str(level): features for level, features in enumerate(maps)}
        return list(self.pyramid(named).values())
