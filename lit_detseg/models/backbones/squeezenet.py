"""SqueezeNet 1.0 (arXiv:1602.07360): a pretrained backbone of 5 MB, for CPUs.

Two changes against the classifier, neither touches a weight:

Padding. The classifier pads neither conv1 nor its max-pools, so that the receptive field of cell i
at stride 16 is centred on pixel 16 i + 17.5, more than a cell away from the cell's own centre,
16 i + 8; a box head would look beside small objects. Here conv1 is padded by 3 and the second
max-pool by 1. Centres are then 4 i + 2.5, 8 i + 2.5 and 16 i + 10.5 at strides 4, 8 and 16, within
a fifth of a cell of (i + 1/2) stride, and every size is rounded up.

Scale. No layer normalises anything: on photos, pretrained features deviate by 30 to 190 and reach
3000, and at the learning rates of detectors training goes to NaN. Here features are normalised by
groups (arXiv:1803.08494) as they leave.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import squeezenet1_0

from lit_detseg.models.backbones.backbone import Backbone, freeze_stages
from lit_detseg.models.necks.fpn import FeaturePyramid
from lit_detseg.models.weights.pretrained import NONE, Pretrained, find_pretrained


class SqueezeNet(Backbone):
    """One map of stride 16 and 512 channels: fire9, normalised.

    Args:
        weights: see `find_pretrained`.
        trainable_stages: how many of the 4 stages learn: conv1; fire2-4; fire5-8; fire9.
        pixel_statistics: see `find_pretrained`.
    """

    def __init__(
        self,
        weights: str = NONE,
        trainable_stages: int | None = None,
        pixel_statistics: str = "auto",
    ) -> None:
        pretrained = find_pretrained("squeezenet1_0", weights, pixel_statistics)
        super().__init__(strides=(16,), out_channels=512, statistics=pretrained.statistics)
        self.stages = _stages(pretrained)
        freeze_stages(self.stages, trainable_stages, weights != NONE)
        self.norm = nn.GroupNorm(32, 512)

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The last map."""
        for stage in self.stages:
            pixels = stage(pixels)
        return [self.norm(pixels)]


class SqueezeNetFPN(Backbone):
    """A narrow pyramid of strides 8, 16 and 32 over fire8 and fire9.

    Args:
        weights: see `find_pretrained`.
        trainable_stages: how many of the 4 stages learn: conv1; fire2-4; fire5-8; fire9.
        pixel_statistics: see `find_pretrained`.
        fpn_channels: of every map of the pyramid.
    """

    def __init__(
        self,
        weights: str = NONE,
        trainable_stages: int | None = None,
        pixel_statistics: str = "auto",
        fpn_channels: int = 128,
    ) -> None:
        pretrained = find_pretrained("squeezenet1_0", weights, pixel_statistics)
        super().__init__(
            strides=(8, 16, 32),
            out_channels=fpn_channels,
            statistics=pretrained.statistics,
            roi_levels=2,
        )
        self.stages = _stages(pretrained)
        freeze_stages(self.stages, trainable_stages, weights != NONE)
        self.neck = FeaturePyramid([512, 512], fpn_channels, norm="group")

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """Strides 8 and 16 from the network, 32 by subsampling."""
        conv1, fire2_to_4, fire5_to_8, fire9 = self.stages
        fine = fire5_to_8(fire2_to_4(conv1(pixels)))
        return self.neck([fine, fire9(fine)])


def _stages(pretrained: Pretrained) -> nn.ModuleList:
    """The network in its four stages, with the paddings of this module's docstring."""
    network = squeezenet1_0()
    del network.classifier
    pretrained.load_into(network, ignored_prefixes=("classifier.",))
    features = network.features
    conv1 = features[0]
    assert isinstance(conv1, nn.Conv2d)
    conv1.padding = (3, 3)
    # A zero after a ReLU never wins a maximum: the padding only rounds odd sizes up.
    for pool in (2, 11):
        features[pool] = nn.Sequential(
            nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
        )
    features[6] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    return nn.ModuleList([features[:3], features[3:7], features[7:11], features[11:]])
