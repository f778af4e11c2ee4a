"""AlexNet twice: as R-CNN has it from Caffe, and as torchvision has it. They are two networks.

CaffeNet (Caffe's bvlc_reference_caffenet; "T-Net" in R-CNN, "S" in Fast R-CNN) has 96 filters in
conv1, grouped convolutions as for two graphics cards, and normalises responses after pooling.
Torchvision's ("One weird trick", arXiv:1404.5997) has 64, 192, 384, 256 and 256 filters, no groups
and no normalisation: weights of one do not fit the other, and R-CNN's numbers are the first one's.

Both were made for crops of a fixed size. Padded as in Fast R-CNN (conv1 by 5, pools by 1; its
models/CaffeNet/train.prototxt) every size is rounded up; the receptive field of cell i at stride 16
is centred on pixel 16 i, that is on 16 i + 0.5, half a cell above and left of the cell's own
middle. Caffe's pools then add one more cell to maps of even length; that one is not computed here.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import alexnet

from lit_detseg.models.backbones.backbone import Backbone, HeadLayers, freeze_stages
from lit_detseg.models.backbones.fully_connected import fc6_fc7
from lit_detseg.models.backbones.response_norm import ResponseNorm
from lit_detseg.models.weights.pretrained import NONE, find_pretrained

TRAINABLE_IF_PRETRAINED = 4  # all but conv1: Fast R-CNN's models/CaffeNet
STAGES = (slice(0, 3), slice(3, 6), slice(6, 8), slice(8, 10), slice(10, 12))  # of torchvision's


class _FiveStages(Backbone):
    """conv1 .. conv5: one map of stride 16 and 256 channels."""

    stages: nn.ModuleList

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """conv5, after its ReLU."""
        for stage in self.stages:
            pixels = stage(pixels)
        return [pixels]

    def _freeze(self, trainable_stages: int | None, weights: str) -> None:
        if trainable_stages is None and weights != NONE:
            trainable_stages = TRAINABLE_IF_PRETRAINED
        freeze_stages(self.stages, trainable_stages, pretrained=False)


class CaffeNet(_FiveStages):
    """Caffe's AlexNet: one map of stride 16 and 256 channels; pool5 gives way to RoI pooling.

    `head_layers` are fc6 and fc7 with their ReLU and dropout: they turn RoI features
    (R, 256, 6, 6) into (R, 4096), and always learn.

    Args:
        weights: `none`, `from_checkpoint` or a file with `conv1.weight` .. `fc7.bias`, see
            `find_pretrained`. Caffe's own have conv2, conv4 and conv5 in two groups.
        trainable_stages: how many of conv1 .. conv5 learn; with pretrained weights, four.
        pixel_statistics: see `find_pretrained`. R-CNN subtracts the mean image, pixel by pixel; its
            mean colour stands for it here, as in Fast R-CNN.
        padded: round every size up; otherwise as in the classifier, which turns crops of 227 pixels
            into maps of 13 x 13 (R-CNN).
    """

    def __init__(
        self,
        weights: str = NONE,
        trainable_stages: int | None = None,
        pixel_statistics: str = "auto",
        padded: bool = True,
    ) -> None:
        pretrained = find_pretrained("caffenet", weights, pixel_statistics)
        super().__init__(strides=(16,), out_channels=256, statistics=pretrained.statistics)
        layers = fc6_fc7(256 * 6 * 6)
        network = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(3, 96, 11, stride=4, padding=5 if padded else 0),
                "conv2": nn.Conv2d(96, 256, 5, padding=2, groups=2),
                "conv3": nn.Conv2d(256, 384, 3, padding=1),
                "conv4": nn.Conv2d(384, 384, 3, padding=1, groups=2),
                "conv5": nn.Conv2d(384, 256, 3, padding=1, groups=2),
                "fc6": layers.get_submodule("fc6"),
                "fc7": layers.get_submodule("fc7"),
            }
        )
        pretrained.load_into(network, ignored_prefixes=("fc8.",))
        self.stages = nn.ModuleList()
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
            stage = nn.Sequential(network[name], nn.ReLU(inplace=True))
            if name in ("conv1", "conv2"):
                stage.append(nn.MaxPool2d(3, stride=2, padding=1 if padded else 0))
                stage.append(ResponseNorm(5, alpha=1e-4))
            self.stages.append(stage)
        self._freeze(trainable_stages, weights)
        self.head_layers = HeadLayers(nn.Identity(), layers, 4096, bins=6, trunk_channels=256)


class AlexNet(_FiveStages):
    """Torchvision's AlexNet: one map of stride 16 and 256 channels; not the network of R-CNN.

    `head_layers` are fc6 and fc7 with their ReLU and dropout, for RoI features (R, 256, 6, 6).

    Args:
        weights: see `find_pretrained`; fc6 and fc7 must be among them.
        trainable_stages: how many of conv1 .. conv5 learn; with pretrained weights, four.
        pixel_statistics: see `find_pretrained`.
        padded: round every size up; otherwise as in the classifier, which turns crops of 224 to 227
            pixels into maps of 13 x 13.
    """

    def __init__(
        self,
        weights: str = NONE,
        trainable_stages: int | None = None,
        pixel_statistics: str = "auto",
        padded: bool = True,
    ) -> None:
        pretrained = find_pretrained("alexnet", weights, pixel_statistics)
        super().__init__(strides=(16,), out_channels=256, statistics=pretrained.statistics)
        network = alexnet()
        del network.classifier[6]  # the 1000 classes of ImageNet
        pretrained.load_into(network, ignored_prefixes=("classifier.6.",))
        if padded:
            for layer in network.features:
                if isinstance(layer, nn.MaxPool2d):
                    layer.padding = 1
            network.features[0].padding = (5, 5)
        self.stages = nn.ModuleList([network.features[stage] for stage in STAGES])
        self._freeze(trainable_stages, weights)
        layers = nn.Sequential(nn.Flatten(), *network.classifier)
        self.head_layers = HeadLayers(nn.Identity(), layers, 4096, bins=6, trunk_channels=256)
