"""fc6 and fc7."""

import torch

from lit_detseg.models.backbones.fully_connected import fc6_fc7


def test_parameters_have_caffe_s_names():
    shapes = {name: tuple(p.shape) for name, p in fc6_fc7(12, width=5).named_parameters()}
    assert shapes == {
        "fc6.weight": (5, 12),
        "fc6.bias": (5,),
        "fc7.weight": (5, 5),
        "fc7.bias": (5,),
    }


def test_maps_are_flattened_channel_by_channel():
    layers = fc6_fc7(12, width=5).eval()
    maps = torch.randn(2, 3, 2, 2)
    assert layers(maps).equal(layers(maps.reshape(2, 12)))


def test_half_of_what_is_left_is_dropped_in_training():
    layers = fc6_fc7(12, width=1000)
    with torch.no_grad():
        layers.fc7.bias.fill_(10)  # no zero of the ReLU's own
    dropped = (layers(torch.randn(3, 12)) == 0).float().mean()
    assert 0.4 < dropped < 0.6
