"""ResNet (arXiv:1512.03385): a feature pyramid or C4 as in Mask R-CNN (arXiv:1703.06870), or DC5.

torchvision's layers: the stride of a bottleneck is in its 3x3 convolution ("v1.5"), not in the
first 1x1 as in the paper and in Detectron.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

import torchvision.models
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.ops import FrozenBatchNorm2d

from lit_detseg.models.backbones.backbone import Backbone, HeadLayers, freeze_stages
from lit_detseg.models.necks.fpn import FeaturePyramid, PyramidNorm
from lit_detseg.models.weights.pretrained import NONE, Pretrained, find_pretrained
from lit_detseg.structures import UserError

NORM_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "frozen_batch": FrozenBatchNorm2d,
    "group": partial(nn.GroupNorm, 32),
    "sync_batch": nn.SyncBatchNorm,
}
WIDTHS = (64, 128, 256, 512)  # of the four stages, before the expansion of a bottleneck


class ResNetBody(Backbone):
    """The stem and some of the four stages, frozen where they shall not learn.

    Subclasses say what becomes of the maps.

    Attributes:
        stem: 7x7 convolution and pooling, to stride 4.
        stages: layer1 .. layer3 or layer4.
    """

    stem: nn.Sequential
    stages: nn.ModuleList

    def take_stages(
        self, body: ResNet, num_stages: int, trainable: int | None, pretrained: bool
    ) -> None:
        """Own the first stages of a classifier, the stem not counted."""
        self.stem = nn.Sequential(body.conv1, body.bn1, body.relu, body.maxpool)
        stages = [body.layer1, body.layer2, body.layer3, body.layer4]
        self.stages = nn.ModuleList(stages[:num_stages])
        freeze_stages([self.stem, *self.stages], trainable, pretrained)

    def train(self, mode: bool = True) -> "ResNetBody":
        """Frozen stages stay in evaluation mode: their batch statistics are frozen, too."""
        super().train(mode)
        for stage in (self.stem, *self.stages):
            if not any(parameter.requires_grad for parameter in stage.parameters()):
                stage.eval()
        return self


class ResNetFPN(ResNetBody):
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
        fpn_norm: `auto`, as in the body where that is `group`, else none; `batch`, synchronised
            batch normalisation, as in torchvision's second version.

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
        fpn_norm: Literal["auto", "batch"] = "auto",
    ) -> None:
        norm = _choose_norm(norm, pretrained=weights != NONE)
        pretrained = find_pretrained(network, weights, pixel_statistics)
        super().__init__(
            strides=(4, 8, 16, 32, 64),
            out_channels=fpn_channels,
            statistics=pretrained.statistics,
            roi_levels=4,
        )
        body = _classifier(network, norm, pretrained)
        self.take_stages(body, 4, trainable_stages, weights != NONE)
        of_pyramid: dict[str, PyramidNorm] = {"auto": "group" if norm == "group" else "none"}
        self.neck = FeaturePyramid(
            _out_channels(body), fpn_channels, norm=of_pyramid.get(fpn_norm, "batch")
        )

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """P2 .. P6."""
        features = self.stem(pixels)
        maps = []
        for stage in self.stages:
            features = stage(features)
            maps.append(features)
        return self.neck(maps)


class ResNetC4(ResNetBody):
    """One map of stride 16, the output of layer3 (res4); layer4 (res5) judges the pooled RoIs.

    Mask R-CNN (arXiv:1703.06870, figure 4, left) pools 7 x 7 bins and sets the stride of res5 to 1;
    Detectron and detectron2 pool 14 x 14 and keep its stride of 2. Either way res5 answers with
    7 x 7 cells, which a mask branch shares.

    Args:
        network: as in `ResNetFPN`.
        weights: likewise.
        trainable_stages: how many of the 4 stages learn: the stem, layer1 .. layer3; layer4 does.
        norm: as in `ResNetFPN`.
        pixel_statistics: likewise.
        res5_stride: 1 as in the paper, for 7 x 7 bins, or 2 as in Detectron, for 14 x 14.
    """

    def __init__(
        self,
        network: str = "resnet50",
        weights: str = NONE,
        trainable_stages: int | None = None,
        norm: str = "auto",
        pixel_statistics: str = "auto",
        res5_stride: Literal[1, 2] = 1,
    ) -> None:
        norm = _choose_norm(norm, pretrained=weights != NONE)
        pretrained = find_pretrained(network, weights, pixel_statistics)
        body = _classifier(network, norm, pretrained)
        *_, channels, features = _out_channels(body)
        super().__init__((16,), channels, pretrained.statistics)
        self.take_stages(body, 3, trainable_stages, weights != NONE)
        if res5_stride == 1:
            _keep_resolution(body.layer4)
        layers = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head_layers = HeadLayers(body.layer4, layers, features, 7 * res5_stride, features)

    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The output of layer3."""
        features = self.stem(pixels)
        for stage in self.stages:
            features = stage(features)
        return [features]


class ResNetDC5(ResNetC4):
    """As `ResNetC4`, but layer4 (res5) is made for the whole map: stride 1, its 3x3 dilated by 2.

    R-FCN (arXiv:1605.06409, section 2) and FCIS (arXiv:1611.07709, section 2.3) call it the "hole
    algorithm": a map of stride 16 whose cells see about as far as those of stride 32. Regions are
    proposed on the output of layer3 and judged on that of layer4, which the judging head owns.

    Args:
        network: as in `ResNetFPN`.
        weights: likewise.
        trainable_stages: as in `ResNetC4`.
        norm: as in `ResNetFPN`.
        pixel_statistics: likewise.
    """

    def __init__(
        self,
        network: str = "resnet50",
        weights: str = NONE,
        trainable_stages: int | None = None,
        norm: str = "auto",
        pixel_statistics: str = "auto",
    ) -> None:
        super().__init__(network, weights, trainable_stages, norm, pixel_statistics, res5_stride=1)
        assert self.head_layers is not None
        _dilate(self.head_layers.trunk)


def _classifier(network: str, norm: str, pretrained: Pretrained) -> ResNet:
    """The network of torchvision without its last layer, filled."""
    body: ResNet = torchvision.models.get_model(network, norm_layer=NORM_LAYERS[norm])
    del body.fc
    pretrained.load_into(body, ignored_prefixes=("fc.",))
    return body


def _out_channels(body: ResNet) -> list[int]:
    """Of layer1 .. layer4."""
    expansion = 1 if isinstance(body.layer1[0], BasicBlock) else 4
    return [expansion * width for width in WIDTHS]


def _keep_resolution(stage: nn.Module) -> None:
    """Let the convolutions of a stage have stride 1."""
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)


def _dilate(stage: nn.Module) -> None:
    """Spread the samples of the 3x3 convolutions of a stage by 2."""
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            layer.dilation = layer.padding = (2, 2)


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
