"""Faster R-CNN's region proposal network (arXiv:1506.01497, section 3.1), its layers only.

Anchors, matching and losses live on the floors below; here are the weights.
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class RegionProposalHead(nn.Module):
    """At every cell of a feature map, score and adjust `num_anchors` anchors.

    Args:
        in_channels: channels of the feature map (512 for VGG-16).
        num_anchors: anchors per cell (9 in the paper: 3 scales x 3 aspect ratios).
        hidden_channels: width of the shared 3x3 convolution; 256 for ZF and for FPN.
        num_convs: how many of them follow each other (2 in torchvision's second version).
    """

    def __init__(
        self, in_channels: int, num_anchors: int, hidden_channels: int = 512, num_convs: int = 1
    ) -> None:
        super().__init__()
        widths = [in_channels, *[hidden_channels] * num_convs]
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=3, padding=1) for before, after in pairwise(widths)
        )
        self.objectness = nn.Conv2d(hidden_channels, num_anchors, kernel_size=1)
        self.offsets = nn.Conv2d(hidden_channels, num_anchors * 4, kernel_size=1)
        for name, parameter in self.named_parameters():  # section 3.1.3
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=0.01)
            else:
                nn.init.zeros_(parameter)

    def forward(
        self, features: Float[Tensor, "batch channels height width"]
    ) -> tuple[Float[Tensor, "batch anchors"], Float[Tensor, "batch anchors 4"]]:
        """Objectness logits and box offsets of every anchor: row by row, cell by cell."""
        hidden = features
        for conv in self.convs:
            hidden = F.relu(conv(hidden))
        objectness = self.objectness(hidden).permute(0, 2, 3, 1).flatten(1)
        offsets = self.offsets(hidden).permute(0, 2, 3, 1).reshape(len(features), -1, 4)
        return objectness, offsets
