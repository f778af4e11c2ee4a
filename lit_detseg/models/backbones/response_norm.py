"""Local response normalisation, as in Caffe's LRN layer: of AlexNet (section 3.3) and of ZF.

y = x / (1 + alpha m)^beta, where m is the mean of x^2 over `size` channels at the same place (a sum
divided by `size`), or over `size` x `size` places of the same channel. What lies beyond the map is
0 and counts in the mean.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

NormRegion = Literal["across_channels", "within_channel"]


class ResponseNorm(nn.Module):
    """Divide each activation by the strength of those around it.

    torch has `nn.LocalResponseNorm` for the first region and nothing for the second. Squares are
    computed in float32: half precision cannot hold those of activations above 255.

    Args:
        size: of the neighbourhood, odd.
        alpha: as Caffe states it.
        beta: likewise.
        region: over what the mean is taken.
    """

    def __init__(
        self, size: int, alpha: float, beta: float = 0.75, region: NormRegion = "across_channels"
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.region = size, alpha, beta, region

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """The normalised map."""
        squares, half = x.float().square(), self.size // 2
        if self.region == "within_channel":
            mean = F.avg_pool2d(squares, self.size, stride=1, padding=half)
        else:
            window, padding = (self.size, 1, 1), (half, 0, 0)
            mean = F.avg_pool3d(squares[:, None], window, stride=1, padding=padding)[:, 0]
        return (x / (1 + self.alpha * mean) ** self.beta).to(x.dtype)

    def extra_repr(self) -> str:
        """What was given."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, {self.region}"
