"""VGG-16: where it is cut, what is frozen, what the head gets."""

import pytest
import torch
from torch import nn

from lit_detseg.models.backbones.vgg import VGG16

CONVOLUTIONS = 14_714_688  # of VGG-16, weights and biases
FC6_AND_FC7 = 25_088 * 4096 + 4096 + 4096 * 4096 + 4096


@pytest.fixture(scope="module")
def vgg16():
    return VGG16("from_checkpoint")  # frozen as if pretrained, without a file of half a gigabyte


def test_blocks_end_before_each_pool(vgg16):
    """2, 2, 3, 3, 3 convolutions; four pools, pool5 is dropped."""
    convolutions = [sum(isinstance(m, nn.Conv2d) for m in stage) for stage in vgg16.stages]
    pools = [sum(isinstance(m, nn.MaxPool2d) for m in stage) for stage in vgg16.stages]
    assert convolutions == [2, 2, 3, 3, 3]
    assert sum(pools) == 4
    assert sum(p.numel() for p in vgg16.stages.parameters()) == CONVOLUTIONS


def test_conv1_and_conv2_are_frozen(vgg16):
    learns = [all(p.requires_grad for p in stage.parameters() or [0]) for stage in vgg16.stages]
    assert learns == [False, False, True, True, True]
    assert all(p.requires_grad for p in vgg16.head_layers.layers.parameters())


def test_head_turns_7_x_7_rois_into_4096_features(vgg16):
    head = vgg16.head_layers
    assert sum(p.numel() for p in head.layers.parameters()) == FC6_AND_FC7
    assert head.layers(torch.randn(3, 512, head.bins, head.bins)).shape == (3, head.num_features)


def test_head_has_two_dropouts_that_stop_in_evaluation(vgg16):
    rois, layers = torch.randn(1, 512, 7, 7), vgg16.head_layers.layers
    layers.train()
    assert (layers(rois) == 0).float().mean() > 0.4  # a half dropped, more by ReLU

    layers.eval()
    assert layers(rois).equal(layers(rois))


def test_the_head_is_no_part_of_the_backbone_s_own_state(vgg16):
    assert {name.split(".")[0] for name in vgg16.state_dict()} == {"normalization", "stages"}
