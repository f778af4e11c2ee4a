"""The network of Zeiler and Fergus (arXiv:1311.2901), as Faster R-CNN has it; SPP-net's "ZF-5".

Layers and paddings of py-faster-rcnn (models/pascal_voc/ZF/faster_rcnn_end2end/train.prototxt):
every layer of k x k is padded by k // 2, so that every size is rounded up and the receptive field
of cell i at stride 16 is centred on pixel 16 i, that is on 16 i + 0.5. SPP-net's own definition
(Zeiler_conv5.prototxt) has the same weights and pads less, where the same windows lie on other
cells. Caffe's pools add one more cell to maps of even length; that one is not computed here.
"""

from jaxtyping import Float
from torch import Tensor, nn

from lit_detseg.models.backbones.backbone import Backbone, HeadLayers, freeze_stages
from lit_detseg.models.backbones.fully_connected import fc6_fc7
from lit_detseg.models.backbones.response_norm import ResponseNorm
from lit_detseg.models.weights.pretrained import NONE, find_pretrained


class ZF(Backbone):
    """conv1 .. conv5: one map of stride 16 and 256 channels. pool5 gives way to RoI pooling.

    `head_layers` are fc6 and fc7 with their ReLU and dropout: they turn RoI features
    (R, 256, 6, 6) into (R, 4096), and always learn.

    Args:
        weights: `none`, `from_checkpoint` or a file with `conv1.weight` .. `fc7.bias`, see
            `find_pretrained`.
        trainable_stages: how many of conv1 .. conv5 learn; all, as in py-faster-rcnn, when not
            given.
        pixel_statistics: see `find_pretrained`.
        with_head: bring `head_layers`. Without, fc6 and fc7 in the file may be of any shape, as
            those of SPP-net, whose fc6 reads a pyramid.
    """

    def __init__(
        self,
        weights: str = NONE,
        trainable_stages: int | None = None,
        pixel_statistics: str = "auto",
        with_head: bool = True,
    ) -> None:
        pretrained = find_pretrained("zf", weights, pixel_statistics)
        super().__init__(strides=(16,), out_channels=256, statistics=pretrained.statistics)
        network = nn.ModuleDict(
            {
                "conv1": nn.Conv2d(3, 96, 7, stride=2, padding=3),
                "conv2": nn.Conv2d(96, 256, 5, stride=2, padding=2),
                "conv3": nn.Conv2d(256, 384, 3, padding=1),
                "conv4": nn.Conv2d(384, 384, 3, padding=1),
                "conv5": nn.Conv2d(384, 256, 3, padding=1),
            }
        )
        ignored = ("fc8.",) if with_head else ("fc6.", "fc7.", "fc8.")
        if with_head:
            layers = fc6_fc7(256 * 6 * 6)
            network.update({name: layers.get_submodule(name) for name in ("fc6", "fc7")})
            self.head_layers = HeadLayers(nn.Identity(), layers, 4096, bins=6, trunk_channels=256)
        pretrained.load_into(network, ignored)
        self.stages = nn.ModuleList()
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5"):
            stage = nn.Sequential(network[name], nn.ReLU(inplace=True))
            if name in ("conv1", "conv2"):
                stage.append(ResponseNorm(3, alpha=5e-5, region="within_channel"))
                stage.append(nn.MaxPool2d(3, stride=2, padding=1))
            self.stages.append(stage)
        freeze_stages(self.stages, trainable_stages, pretrained=False)

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """conv5, after its ReLU."""
        for stage in self.stages:
            pixels = stage(pixels)
        return [pixels]
