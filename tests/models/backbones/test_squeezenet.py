"""SqueezeNet: sizes, and features at unit scale whatever the weights."""

import torch

from lit_detseg.models.backbones.squeezenet import SqueezeNet, SqueezeNetFPN
from lit_detseg.structures import Images


def noise():
    return Images(
        torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8), torch.tensor([[64] * 2])
    )


def test_all_convolutions_are_kept():
    """735,424 parameters: 1,248,424 minus the classifier's 512 x 1000 + 1000."""
    for backbone in (SqueezeNet(), SqueezeNetFPN()):
        assert sum(p.numel() for p in backbone.stages.parameters()) == 1_248_424 - 513_000


def test_features_keep_unit_scale_under_wild_weights():
    for backbone in (SqueezeNet(), SqueezeNetFPN()):
        with torch.no_grad():
            for parameter in backbone.stages.parameters():
                parameter.mul_(3)
            for features in backbone(noise()):
                assert 0.5 < features.std() < 2


def test_conv1_to_fire4_are_frozen_if_pretrained():
    backbone = SqueezeNetFPN("from_checkpoint")
    frozen = [not next(stage.parameters()).requires_grad for stage in backbone.stages]
    assert frozen == [True, True, False, False]


def test_last_levels_are_for_proposals_only():
    assert (SqueezeNetFPN().strides, SqueezeNetFPN().roi_levels) == ((8, 16, 32), 2)
    assert (SqueezeNet().strides, SqueezeNet().roi_levels) == ((16,), 1)
