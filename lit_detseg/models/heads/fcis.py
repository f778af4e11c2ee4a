"""FCIS's position-sensitive maps (arXiv:1611.07709, figure 3), their layers only."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn


class PositionSensitiveMaps(NamedTuple):
    """What regions are put together from; the order of channels is `pool_position_sensitive`'s."""

    scores: Float[Tensor, "images score_channels height width"]  # of class 0: outside, inside; ...
    offsets: Float[Tensor, "images offset_channels height width"]


class FCISHead(nn.Module):
    """Convolutions over the whole image; no layer sees a region.

    Args:
        num_classes: without background, which is added here as class 0.
        trunk: from the map that regions are proposed on to the one they are judged on: res5 of a
            ResNet.
        in_channels: of the trunk's map.
        hidden_channels: it is reduced to, by a 1x1 convolution.
        groups: parts of a region along each side.
    """

    def __init__(
        self,
        num_classes: int,
        trunk: nn.Module,
        in_channels: int = 2048,
        hidden_channels: int = 1024,
        groups: int = 7,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.reduce = nn.Conv2d(in_channels, hidden_channels, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)
        self.scores = nn.Conv2d(hidden_channels, 2 * (num_classes + 1) * groups**2, kernel_size=1)
        self.offsets = nn.Conv2d(hidden_channels, 4 * groups**2, kernel_size=1)
        for layer in (self.reduce, self.scores, self.offsets):
            for name, parameter in layer.named_parameters():  # the released init_weight
                nn.init.normal_(parameter, std=0.01 if name == "weight" else 0.0)

    def forward(
        self, features: Float[Tensor, "images channels height width"]
    ) -> PositionSensitiveMaps:
        """Inside and outside scores of every class, and box offsets, for every part of a region.

        The offsets are the same for all classes: 4 k^2 channels as in the paper. The released code
        has as many for the background, which nothing reads.
        """
        hidden = self.relu(self.reduce(self.trunk(features)))
        return PositionSensitiveMaps(self.scores(hidden), self.offsets(hidden))
