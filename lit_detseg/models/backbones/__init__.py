"""Backbones by name."""

import difflib

from lit_detseg.models.backbones.alexnet import AlexNet, CaffeNet
from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.backbones.resnet import ResNetC4, ResNetDC5, ResNetFPN
from lit_detseg.models.backbones.squeezenet import SqueezeNet, SqueezeNetFPN
from lit_detseg.models.backbones.tiny import TinyFPN
from lit_detseg.models.backbones.vgg import VGG16
from lit_detseg.models.backbones.zf import ZF
from lit_detseg.models.weights.pretrained import FROM_CHECKPOINT, NONE
from lit_detseg.structures import UserError

__all__ = ["BACKBONES", "Backbone", "build_backbone"]

BACKBONES = (
    "resnet18_fpn",
    "resnet50_fpn",
    "resnet101_fpn",
    "resnet18_c4",
    "resnet50_c4",
    "resnet101_c4",
    "resnet18_dc5",
    "resnet50_dc5",
    "resnet101_dc5",
    "vgg16",
    "alexnet",
    "caffenet",
    "zf",
    "squeezenet1_0",
    "squeezenet1_0_fpn",
    "tiny_fpn",
)


def build_backbone(
    name: str,
    weights: str = NONE,
    trainable_stages: int | None = None,
    norm: str = "auto",
    pixel_statistics: str = "auto",
) -> Backbone:
    """A feature extractor.

    Args:
        name: one of `BACKBONES`.
        weights: `none`, `from_checkpoint`, a file, or a torchvision name; see `find_pretrained`.
        trainable_stages: how many stages learn, counted from the output; with 0 nothing does, a
            feature pyramid on top included. By default all, or all but the first two (VGG-16:
            conv1, conv2; ResNet: stem, layer1) with pretrained weights; of AlexNet and CaffeNet
            all but conv1 then, of ZF all.
        norm: ResNet only: `auto`, `frozen_batch`, `group` or `sync_batch`.
        pixel_statistics: `auto`, `torchvision` or `caffe`; see `find_pretrained`.

    Raises:
        UserError: when the name is unknown, or the rest does not go with it.
    """
    if norm != "auto" and name in BACKBONES and not name.startswith("resnet"):
        raise UserError(
            f'norm = "{norm}" is for ResNet; {name} has no choice. Leave norm = "auto".'
        )
    backbone = _named(name, weights, trainable_stages, norm, pixel_statistics)
    if trainable_stages == 0:
        backbone.freeze()
    return backbone


def _named(
    name: str, weights: str, trainable_stages: int | None, norm: str, pixel_statistics: str
) -> Backbone:
    match name:
        case "resnet18_fpn" | "resnet50_fpn" | "resnet101_fpn":
            network = name.removesuffix("_fpn")
            return ResNetFPN(network, weights, trainable_stages, norm, pixel_statistics)
        case "resnet18_c4" | "resnet50_c4" | "resnet101_c4":
            network = name.removesuffix("_c4")
            return ResNetC4(network, weights, trainable_stages, norm, pixel_statistics)
        case "resnet18_dc5" | "resnet50_dc5" | "resnet101_dc5":
            network = name.removesuffix("_dc5")
            return ResNetDC5(network, weights, trainable_stages, norm, pixel_statistics)
        case "vgg16":
            return VGG16(weights, trainable_stages, pixel_statistics)
        case "alexnet":
            return AlexNet(weights, trainable_stages, pixel_statistics)
        case "caffenet":
            return CaffeNet(weights, trainable_stages, pixel_statistics)
        case "zf":
            return ZF(weights, trainable_stages, pixel_statistics)
        case "squeezenet1_0":
            return SqueezeNet(weights, trainable_stages, pixel_statistics)
        case "squeezenet1_0_fpn":
            return SqueezeNetFPN(weights, trainable_stages, pixel_statistics)
        case "tiny_fpn" if weights in (NONE, FROM_CHECKPOINT):
            return TinyFPN(trainable_stages)
        case "tiny_fpn":
            raise UserError(f'tiny_fpn learns from scratch: weights = "{weights}" must be "none".')
    nearest = difflib.get_close_matches(name, BACKBONES, n=1, cutoff=0)[0]
    raise UserError(
        f'There is no backbone "{name}". Nearest: "{nearest}"; known: {", ".join(BACKBONES)}.'
    )
