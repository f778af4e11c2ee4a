"""One box regressor per class on pool5 (R-CNN, arXiv:1311.2524, appendix C): fitted at once."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class RegionBoxRegressors(nn.Module):
    """Box offsets of regions, linear in their pool5 features. All numbers are buffers.

    A class without regressor moves nothing.

    Args:
        num_classes: without background.
        num_features: of pool5.
    """

    weights: Float[Tensor, "classes 4 features"]
    bias: Float[Tensor, "classes 4"]
    scale: Float[Tensor, ""]  # features are multiplied by it; 0 until the regressors are fitted

    def __init__(self, num_classes: int, num_features: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(num_classes, 4, num_features))
        self.register_buffer("bias", torch.zeros(num_classes, 4))
        self.register_buffer("scale", torch.zeros(()))

    @property
    def are_fitted(self) -> bool:
        """Whether anything is moved."""
        return bool(self.scale > 0)

    def forward(
        self, pooled: Float[Tensor, "regions features"]
    ) -> Float[Tensor, "regions classes 4"]:
        """Offsets, see `lit_detseg.ops.box_coding`; float32 whatever autocast does elsewhere."""
        with torch.autocast(pooled.device.type, enabled=False):
            offsets = pooled.float() * self.scale @ self.weights.flatten(0, 1).T
        return offsets.reshape(len(pooled), *self.bias.shape) + self.bias
