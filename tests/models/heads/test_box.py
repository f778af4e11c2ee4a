"""The layers of Fast R-CNN's head."""

import torch
from torch import nn

from lit_detseg.models.backbones.backbone import HeadLayers
from lit_detseg.models.heads.box import BoxHead, convolutions_and_one_layer, fully_connected


def flat(num_features):
    """No layers but the last ones."""
    return HeadLayers(nn.Identity(), nn.Flatten(), num_features, bins=1, trunk_channels=1)


def test_every_class_and_the_background_have_a_score_and_a_box():
    head = BoxHead(20, fully_connected(8, bins=7, width=16))
    logits, offsets = head(torch.zeros(5, 8, 7, 7))
    assert logits.shape == (5, 21)
    assert offsets.shape == (5, 21, 4)


def test_box_offsets_of_a_class_stand_together():
    head = BoxHead(1, flat(1))
    with torch.no_grad():
        head.offsets.weight[:, 0] = torch.arange(8.0)
    _, offsets = head(torch.ones(1, 1, 1, 1))
    assert offsets[0].tolist() == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]]


def test_new_layers_have_the_deviations_of_section_2_3():
    head = BoxHead(20, flat(1024))
    assert 0.0097 < head.class_logits.weight.std().item() < 0.0103
    assert 0.00097 < head.offsets.weight.std().item() < 0.00103
    assert head.class_logits.bias.abs().sum() == head.offsets.bias.abs().sum() == 0


def test_four_convolutions_and_one_layer():
    """Weights of the convolutions, two numbers per channel of each norm, the last layer."""
    layers = convolutions_and_one_layer(8, bins=5, width=12, hidden_channels=16)
    assert layers.layers(torch.zeros(2, 8, 5, 5)).shape == (2, 12)
    counts = [parameter.numel() for parameter in layers.layers.parameters()]
    assert sum(counts) == 9 * 8 * 16 + 3 * 9 * 16 * 16 + 4 * 2 * 16 + 16 * 25 * 12 + 12
