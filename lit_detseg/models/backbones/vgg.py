"""VGG-16 (arXiv:1409.1556) as Fast and Faster R-CNN use it (arXiv:1504.08083, section 2.2)."""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import vgg16

from lit_detseg.models.backbones.backbone import Backbone, HeadLayers, freeze_stages
from lit_detseg.models.weights.pretrained import NONE, find_pretrained

BLOCKS = (slice(0, 5), slice(5, 10), slice(10, 17), slice(17, 24), slice(24, 30))


class VGG16(Backbone):
    """conv1_1 .. conv5_3: one map of stride 16 and 512 channels. pool5 gives way to RoI pooling.

    `head_layers` are fc6 and fc7 with their ReLU and dropout: they turn RoI features
    (R, 512, 7, 7) into (R, 4096), and always learn.

    Args:
        weights: see `find_pretrained`; fc6 and fc7 must be among them.
        trainable_stages: how many of the 5 blocks conv1 .. conv5 learn.
        pixel_statistics: see `find_pretrained`.
    """

    def __init__(
        self,
        weights: str = NONE,
        trainable_stages: int | None = None,
        pixel_statistics: str = "auto",
    ) -> None:
        pretrained = find_pretrained("vgg16", weights, pixel_statistics)
        super().__init__(strides=(16,), out_channels=512, statistics=pretrained.statistics)
        network = vgg16()
        del network.classifier[6]  # the 1000 classes of ImageNet
        pretrained.load_into(network, ignored_prefixes=("classifier.6.",))
        for layer in network.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.ceil_mode = True  # as in Caffe: odd sizes round up
        self.stages = nn.ModuleList([network.features[block] for block in BLOCKS])
        freeze_stages(self.stages, trainable_stages, weights != NONE)
        layers = nn.Sequential(nn.Flatten(), *network.classifier)
        self.head_layers = HeadLayers(nn.Identity(), layers, 4096, bins=7, trunk_channels=512)

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """conv5_3, after its ReLU."""
        for stage in self.stages:
            pixels = stage(pixels)
        return [pixels]
