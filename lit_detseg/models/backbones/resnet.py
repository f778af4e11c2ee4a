"""ResNet (arXiv:1512.03385) under a feature pyramid, as in Mask R-CNN (arXiv:1703.06870).

torchvision's layers: the stride of a bottleneck is in its 3x3 convolution ("v1.5"), not in the
first 1x1 as in the paper and in Detectron.
"""

from collections.abc import Callable
from functools import partial

import torchvision.models
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d

from lit_detseg.models.backbones.backbone import Backbone, freeze_stages
from lit_detseg.models.necks.fpn import FeaturePyramid
from lit_detseg.models.weights.pretrained import NONE, find_pretrained
from lit_detseg.structures import UserError

NORM_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "frozen_batch": FrozenBatchNorm2d,
    "group": partial(nn.GroupNorm, 32),
    "sync_batch": nn.SyncBatchNorm,
}
WIDTHS = (64, 128, 256, 512)  # of the four stages, before the expansion of a bottleneck


class ResNetFPN(Backbone):
    """Maps of strides 4, 8, 16, 32, and 64 for the region proposal network alone.

    Args:
        network: `resnet18`, `resnet34`, `resnet50`, `resnet101` or `resnet152`.
        weights: see `find_pretrained`.
        trainable_stages: how many of the 5 stages learn: the stem, layer1 .. layer4.
        norm: `frozen_batch`, pretrained statistics as a fixed affine map, since batches are too
            small to estimate them; `group`, for training from scratch, also in the pyramid
            (arXiv:1811.08883, section 3.1); `sync_batch`, statistics of all ranks together (GPUs
            only, if there are several); `auto`, `frozen_batch` with pretrained weights, else
            `group`.
        pixel_statistics: see `find_pretrained`.
        fpn_channels: of every map.

    Raises:
        UserError: when norm and weights contradict each other.
    """

    def __init__(
        self,
        network: str = "resnet50",
        weights: str = NONE,
        trainable_stages: int | None = None,
        norm: str = "auto",
        pixel_statistics: str = "auto",
        fpn_channels: int = 256,
    ) -> None:
        norm = _choose_norm(norm, pretrained=weights != NONE)
        pretrained = find_pretrained(network, weights, pixel_statistics)
        super().__init__(
            strides=(4, 8, 16, 32, 64),
            out_channels=fpn_channels,
            statistics=pretrained.statistics,
            roi_levels=4,
        )
        body: ResNet = torchvision.models.get_model(network, norm_layer=NORM_LAYERS[norm])
        del body.fc
        pretrained.load_into(body, ignored_prefixes=("fc.",))
        self.stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
        self.stages = nn.ModuleList([body.layer1, body.layer2, body.layer3, body.layer4])
        freeze_stages([self.stem, *self.stages], trainable_stages, weights != NONE)
        expansion = 1 if isinstance(body.layer1[0], BasicBlock) else 4
        self.neck = FeaturePyramid(
            [expansion * width for width in WIDTHS], fpn_channels, group_norm=norm == "group"
        )

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """P2 .. P6."""
        features = self.stem(pixels)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return self.neck(maps)

    def train(self, mode: bool = True) -> "ResNetFPN":
        """Frozen stages stay in evaluation mode: their batch statistics are frozen, too."""
        super().train(mode)
        for stage in (self.stem, *self.stages):
            if not any(parameter.requires_grad for parameter in stage.parameters()):
                stage.eval()
        return self


def _choose_norm(norm: str, pretrained: bool) -> str:
    """One of `NORM_LAYERS`, if it goes with the weights."""
    match norm, pretrained:
        case "auto", _:
            return "frozen_batch" if pretrained else "group"
        case ("sync_batch", _) | ("frozen_batch", True) | ("group", False):
            return norm
        case "frozen_batch", _:
            raise UserError(
                'norm = "frozen_batch" with weights = "none" would freeze statistics that nobody '
                'has measured. Give pretrained weights, or norm = "group".'
            )
        case "group", _:
            raise UserError(
                'norm = "group" cannot use weights that were trained with batch normalisation. '
                'Give norm = "frozen_batch" or "sync_batch", or weights = "none".'
            )
    raise UserError(f'norm = "{norm}": use "auto", "frozen_batch", "group" or "sync_batch".')
