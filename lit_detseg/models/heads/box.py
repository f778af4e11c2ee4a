"""Fast R-CNN's head (arXiv:1504.08083, section 2.1), its layers only."""

from jaxtyping import Float
from torch import Tensor, nn


class BoxHead(nn.Module):
    """Classify a pooled RoI and refine its box, once for each class.

    Args:
        num_classes: without background, which is added here as class 0.
        layers: from pooled features to a vector, such as the fully connected layers that a
            backbone was pretrained with; see `fully_connected`.
        num_features: length of that vector.
    """

    def __init__(self, num_classes: int, layers: nn.Module, num_features: int) -> None:
        super().__init__()
        self.layers = layers
        self.class_logits = nn.Linear(num_features, num_classes + 1)
        self.offsets = nn.Linear(num_features, (num_classes + 1) * 4)
        for layer, std in ((self.class_logits, 0.01), (self.offsets, 0.001)):  # section 2.3
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(
        self, pooled: Float[Tensor, "rois channels height width"]
    ) -> tuple[Float[Tensor, "rois classes"], Float[Tensor, "rois classes 4"]]:
        """Scores before softmax, and box offsets; class 0 is background.

        The background has offsets too, as in the published weights; nothing reads them.
        """
        features = self.layers(pooled)
        class_logits = self.class_logits(features)
        return class_logits, self.offsets(features).reshape(*class_logits.shape, 4)


def fully_connected(in_features: int, width: int = 1024) -> nn.Sequential:
    """Two fully connected layers with ReLU: the head of FPN (arXiv:1612.03144, section 5.2)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(in_features, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
    )
