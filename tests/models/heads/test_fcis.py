"""FCIS's head: how many maps, from which layers."""

import torch
from torch import nn

from lit_detseg.models.heads.fcis import FCISHead


def test_maps_are_counted_as_in_the_paper():
    """2 k^2 (C + 1) and 4 k^2 of them, for 20 classes and k = 7, on 1024 channels (section 2.3)."""
    head = FCISHead(20, nn.Identity())
    assert (head.reduce.in_channels, head.reduce.out_channels) == (2048, 1024)
    assert head.scores.out_channels == 2 * 49 * 21
    assert head.offsets.out_channels == 4 * 49


def test_new_layers_are_drawn_with_a_deviation_of_one_hundredth():
    torch.manual_seed(0)
    head = FCISHead(2, nn.Identity(), 64, 64, groups=3)
    for layer in (head.reduce, head.scores, head.offsets):
        assert abs(layer.weight.std().item() - 0.01) < 0.001
        assert layer.bias.abs().sum().item() == 0


def test_the_trunk_comes_first_and_all_cells_stay():
    head = FCISHead(2, nn.Conv2d(3, 8, 1), 8, 16, groups=3)
    maps = head(torch.zeros(2, 3, 5, 7))
    assert maps.scores.shape == (2, 2 * 3 * 9, 5, 7)
    assert maps.offsets.shape == (2, 4 * 9, 5, 7)
