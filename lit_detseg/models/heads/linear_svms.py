"""One linear SVM per class (R-CNN, arXiv:1311.2524, section 2.3); fitted, not descended."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

# What a class without any object is given instead of a margin: a probability of 0.
NEVER = -1000.0


class LinearSVMs(nn.Module):
    """Margins of regions. All numbers are buffers: they travel with the weights and never learn.

    Args:
        num_classes: without background, which has no SVM.
        num_features: of fc7.
    """

    weights: Float[Tensor, "classes features"]
    bias: Float[Tensor, " classes"]
    scale: Float[Tensor, ""]  # features are multiplied by it; 0 until the SVMs are fitted

    def __init__(self, num_classes: int, num_features: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(num_classes, num_features))
        self.register_buffer("bias", torch.zeros(num_classes))
        self.register_buffer("scale", torch.zeros(()))

    @property
    def are_fitted(self) -> bool:
        """Whether the margins mean anything."""
        return bool(self.scale > 0)

    def forward(
        self, features: Float[Tensor, "regions features"]
    ) -> Float[Tensor, "regions classes"]:
        """The margin of each region and class, float32 whatever autocast does elsewhere."""
        with torch.autocast(features.device.type, enabled=False):
            return features.float() * self.scale @ self.weights.T + self.bias
