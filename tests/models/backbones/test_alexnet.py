"""The two AlexNets: how many weights, in which order, and what R-CNN's crops become."""

import pytest
import torch
from torch import nn

from lit_detseg.models.backbones.alexnet import AlexNet, CaffeNet
from lit_detseg.models.backbones.response_norm import ResponseNorm
from lit_detseg.structures import UserError

FC6_AND_FC7 = 9216 * 4096 + 4096 + 4096 * 4096 + 4096
# Of the whole classifiers, which have 1000 classes: Caffe's 60,965,224, torchvision's 61,100,840.
CLASSES = 4096 * 1000 + 1000


@pytest.fixture(scope="module", params=[CaffeNet, AlexNet])
def network(request):
    return request.param("from_checkpoint", padded=False)  # frozen as if pretrained


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_no_weight_is_missing(network):
    total = count(network.stages) + count(network.head_layers.layers) + CLASSES
    assert total == {CaffeNet: 60_965_224, AlexNet: 61_100_840}[type(network)]
    assert count(network.head_layers.layers) == FC6_AND_FC7


def test_crops_of_r_cnn_become_maps_of_13_cells(network):
    """227 -> 55 -> 27 -> 13; torchvision's conv1 is padded by 2: 56 -> 27 -> 13."""
    with torch.no_grad():
        (features,) = network.extract(torch.randn(1, 3, 227, 227))
    assert features.shape == (1, 256, 13, 13)


def test_head_turns_6_x_6_rois_into_4096_features(network):
    head = network.head_layers
    assert head.layers(torch.randn(2, 256, head.bins, head.bins)).shape == (2, head.num_features)


def test_conv1_alone_is_frozen(network):
    learns = [all(p.requires_grad for p in stage.parameters()) for stage in network.stages]
    assert learns == [False, True, True, True, True]
    assert all(p.requires_grad for p in network.head_layers.layers.parameters())


def test_caffe_s_pools_before_it_normalises_and_has_two_groups():
    stages = CaffeNet(padded=False).stages
    kinds = [type(layer) for layer in stages[1]]
    assert kinds == [nn.Conv2d, nn.ReLU, nn.MaxPool2d, ResponseNorm]
    assert [stage[0].groups for stage in stages] == [1, 2, 1, 2, 2]


def test_weights_of_one_do_not_fit_the_other(tmp_path):
    torch.save(AlexNet().stages.state_dict(), tmp_path / "alexnet.pth")
    with pytest.raises(UserError, match="conv1.weight is missing"):
        CaffeNet(str(tmp_path / "alexnet.pth"))


def test_torchvision_has_no_caffenet():
    with pytest.raises(UserError, match='no weights of caffenet, so none named "DEFAULT"'):
        CaffeNet("DEFAULT")
