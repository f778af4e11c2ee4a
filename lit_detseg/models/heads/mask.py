"""Mask R-CNN's mask branch (arXiv:1703.06870, figure 4), its layers only."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

MaskNorm = Literal["none", "group", "batch"]
NORM_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "group": partial(nn.GroupNorm, 32),
    "batch": nn.SyncBatchNorm,
}


class MaskHead(nn.Module):
    """A small fully convolutional network: from the map of a RoI to one mask per class.

    Args:
        num_masks: how many masks a RoI gets: one per class, without background.
        in_channels: of the pooled map: 256 for FPN, 2048 for C4, behind res5.
        num_convs: 3x3 convolutions before the resolution is doubled: 4 for FPN, 0 for C4.
        hidden_channels: of all convolutions.
        norm: between convolution and ReLU: `none` as in the paper, `group` (arXiv:1803.08494), or
            `batch`, synchronised, as in torchvision's second version.
    """

    def __init__(
        self,
        num_masks: int,
        in_channels: int,
        num_convs: int = 4,
        hidden_channels: int = 256,
        norm: MaskNorm = "none",
    ) -> None:
        super().__init__()
        widths = [in_channels, *[hidden_channels] * num_convs]
        self.convs = nn.Sequential()
        for before in widths[:-1]:
            bias = norm == "none"
            self.convs.append(nn.Conv2d(before, hidden_channels, 3, padding=1, bias=bias))
            if norm != "none":
                self.convs.append(NORM_LAYERS[norm](hidden_channels))
            self.convs.append(nn.ReLU(inplace=True))
        self.upsample = nn.ConvTranspose2d(widths[-1], hidden_channels, kernel_size=2, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.logits = nn.Conv2d(hidden_channels, num_masks, kernel_size=1)
        for layer in (*self.convs, self.upsample, self.logits):
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(
        self, pooled: Float[Tensor, "rois channels size size"]
    ) -> Float[Tensor, "rois masks cells cells"]:
        """Masks of twice the resolution, before sigmoid or softmax."""
        return self.logits(self.relu(self.upsample(self.convs(pooled))))
