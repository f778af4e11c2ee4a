"""Fast R-CNN's head (arXiv:1504.08083, section 2.1), its layers only."""

from jaxtyping import Float
from torch import Tensor, nn

from lit_detseg.models.backbones.backbone import Backbone, HeadLayers


class BoxHead(nn.Module):
    """Classify a pooled RoI and refine its box, once for each class.

    Args:
        num_classes: without background, which is added here as class 0.
        layers: from pooled features to a vector: fully connected layers that a backbone was
            pretrained with, or new ones, see `fully_connected`.
    """

    def __init__(self, num_classes: int, layers: HeadLayers) -> None:
        super().__init__()
        self.trunk = layers.trunk
        self.layers = layers.layers
        self.class_logits = nn.Linear(layers.num_features, num_classes + 1)
        self.offsets = nn.Linear(layers.num_features, (num_classes + 1) * 4)
        for layer, std in ((self.class_logits, 0.01), (self.offsets, 0.001)):  # section 2.3
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(
        self, pooled: Float[Tensor, "rois channels height width"]
    ) -> tuple[Float[Tensor, "rois classes"], Float[Tensor, "rois classes 4"]]:
        """Scores before softmax, and box offsets; class 0 is background.

        The background has offsets too, as in the published weights; nothing reads them.
        """
        features = self.layers(self.trunk(pooled))
        class_logits = self.class_logits(features)
        return class_logits, self.offsets(features).reshape(*class_logits.shape, 4)


def build_box_head(backbone: Backbone, num_classes: int, bins: int, width: int) -> BoxHead:
    """A head of the backbone's own pretrained layers, or of two new ones.

    Args:
        backbone: gives the maps that RoIs are pooled from.
        num_classes: without background.
        bins: along each side of a pooled RoI.
        width: of the new layers.

    Raises:
        UserError: when the backbone's layers were made for another number of bins.
    """
    layers = backbone.head_layers
    if layers is None:
        layers = fully_connected(backbone.out_channels, bins, width)
    layers.require_bins(bins, "rois.output_size")
    return BoxHead(num_classes, layers)


def fully_connected(channels: int, bins: int, width: int = 1024) -> HeadLayers:
    """Two fully connected layers with ReLU: the head of FPN (arXiv:1612.03144, section 5.2).

    Args:
        channels: of the maps.
        bins: along each side of a pooled RoI.
        width: of both layers.
    """
    layers = nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * bins**2, width),
        nn.ReLU(inplace=True),
        nn.Linear(width, width),
        nn.ReLU(inplace=True),
    )
    return HeadLayers(nn.Identity(), layers, width, bins, trunk_channels=channels)


def convolutions_and_one_layer(
    channels: int,
    bins: int,
    width: int = 1024,
    hidden_channels: int = 256,
    norm: type[nn.Module] = nn.BatchNorm2d,
) -> HeadLayers:
    """Four 3x3 convolutions and one fully connected layer (arXiv:1803.08494, section 4.2).

    The head of torchvision's second version of Faster and Mask R-CNN.

    Args:
        channels: of the maps.
        bins: along each side of a pooled RoI.
        width: of the fully connected layer.
        hidden_channels: of the convolutions.
        norm: between convolution and ReLU; made with the number of channels.
    """
    blocks: list[nn.Module] = []
    for in_channels in (channels, *[hidden_channels] * 3):
        blocks += [
            nn.Conv2d(in_channels, hidden_channels, kernel_size=3, padding=1, bias=False),
            norm(hidden_channels),
            nn.ReLU(inplace=True),
        ]
    layers = nn.Sequential(
        *blocks,
        nn.Flatten(),
        nn.Linear(hidden_channels * bins**2, width),
        nn.ReLU(inplace=True),
    )
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return HeadLayers(nn.Identity(), layers, width, bins, trunk_channels=channels)
