"""A backbone for 128-pixel images on a CPU: trained from scratch in a minute or two."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from lit_detseg.models.backbones.backbone import Backbone, freeze_stages
from lit_detseg.models.necks.fpn import FeaturePyramid
from lit_detseg.models.normalization import TORCHVISION

CHANNELS_PER_GROUP = 8


class TinyFPN(Backbone):
    """Three residual blocks at strides 4, 8 and 16 under a pyramid of 64 channels.

    335,280 parameters, 97 million multiplications for 128 x 128 pixels. Group normalisation,
    because batches are small and nothing is pretrained. Resolution is halved by windows of even
    size, so that what a cell sees is centred on the cell; in ResNet, on the cell's corner.

    Args:
        trainable_stages: how many of the 4 stages learn: the stem, and the three blocks.
    """

    def __init__(self, trainable_stages: int | None = None) -> None:
        super().__init__(
            strides=(4, 8, 16, 32), out_channels=64, statistics=TORCHVISION, roi_levels=3
        )
        self.stem = nn.Sequential(
            nn.ZeroPad2d((1, 2, 1, 2)),  # one more at the end: odd sizes round up
            nn.Conv2d(3, 24, kernel_size=4, stride=2, bias=False),
            nn.GroupNorm(24 // CHANNELS_PER_GROUP, 24),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList([_Stage(24, 32), _Stage(32, 64), _Stage(64, 96)])
        freeze_stages([self.stem, *self.stages], trainable_stages, pretrained=False)
        self.neck = FeaturePyramid([32, 64, 96], out_channels=64, norm="group")

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Strides 4, 8, 16 from the blocks; 32 by subsampling."""
        features = self.stem(pixels)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return self.neck(maps)


class _Stage(nn.Module):
    """Halve the resolution, then a residual block (arXiv:1512.03385) of two 3x3 convolutions."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        groups = out_channels // CHANNELS_PER_GROUP
        self.halve = nn.MaxPool2d(kernel_size=2, ceil_mode=True)
        self.widen = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.widen_norm = nn.GroupNorm(groups, out_channels)
        self.conv = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.conv_norm = nn.GroupNorm(groups, out_channels)

    def forward(
        self, features: Float[Tensor, "batch in_channels height width"]
    ) -> Float[Tensor, "batch out_channels half_height half_width"]:
        """Half the cells along each axis, rounded up."""
        wide = F.relu(self.widen_norm(self.widen(self.halve(features))))
        return F.relu(wide + self.conv_norm(self.conv(wide)))
