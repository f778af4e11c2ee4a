"""The demo's backbone: small, cheap, and learning at once."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from lit_detseg.models.backbones.tiny import TinyFPN
from lit_detseg.structures import Images

IMAGES = Images(
    torch.randint(0, 256, (1, 3, 128, 128), dtype=torch.uint8), torch.tensor([[128] * 2])
)


def test_it_is_as_small_and_cheap_as_it_says():
    backbone = TinyFPN()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        backbone(IMAGES)

    assert sum(parameter.numel() for parameter in backbone.parameters()) == 335_280
    assert counter.get_total_flops() / 2 < 100e6  # two per multiplication


def test_every_parameter_is_trainable():
    assert all(parameter.requires_grad for parameter in TinyFPN().parameters())


def test_images_of_a_batch_do_not_influence_each_other():
    backbone = TinyFPN().eval()
    pair = Images(torch.cat([IMAGES.pixels, 255 - IMAGES.pixels]), IMAGES.sizes.expand(2, 2))
    for together, alone in zip(backbone(pair), backbone(IMAGES), strict=True):
        torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
