"""The layers of Mask R-CNN's mask branch."""

import pytest
import torch
from torch import nn

from lit_detseg.models.heads.mask import MaskHead


@pytest.mark.parametrize(
    ("in_channels", "num_convs", "size", "cells"),
    [
        pytest.param(256, 4, 14, 28, id="FPN: 14 x 14 to 28 x 28"),
        pytest.param(2048, 0, 7, 14, id="C4: behind res5, 7 x 7 to 14 x 14"),
    ],
)
def test_figure_4(in_channels, num_convs, size, cells):
    head = MaskHead(80, in_channels, num_convs)
    assert sum(isinstance(layer, nn.Conv2d) for layer in head.convs) == num_convs
    assert head(torch.zeros(2, in_channels, size, size)).shape == (2, 80, cells, cells)


def test_first_weights_are_scaled_by_what_they_feed():
    """MSRA's: deviation sqrt(2 / fan out), 9 x 256 for a 3x3 convolution."""
    head = MaskHead(80, 256)
    assert head.convs[0].weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert head.convs[0].bias.abs().sum() == 0


def test_a_norm_follows_each_convolution_and_replaces_its_bias():
    head = MaskHead(1, 32, num_convs=2, hidden_channels=32, norm="group")
    kinds = [type(layer).__name__ for layer in head.convs]
    assert kinds == ["Conv2d", "GroupNorm", "ReLU"] * 2
    assert head.convs[0].bias is None


def test_no_region_has_no_mask_and_a_gradient():
    head = MaskHead(2, 32, num_convs=1, hidden_channels=32, norm="group")
    head(torch.zeros(0, 32, 4, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
