"""R-CNN's networks: what goes in, what pool5 is, what learns."""

import pytest
import torch

from lit_detseg.models.region_network import REGION_NETWORKS, build_region_network
from lit_detseg.structures import UserError


@pytest.fixture(scope="module", params=["caffenet", "alexnet", "vgg16"])
def network(request):
    return build_region_network(request.param, "from_checkpoint")


def test_fc6_fits_the_pool5_of_a_crop(network):
    side = network.crops.side
    with torch.no_grad():
        pooled = network(torch.randn(1, 3, side, side))
        assert pooled.shape == (1, network.num_pooled)
        assert network.head.layers(pooled).shape == (1, 4096)


def test_crops_and_pool5_are_the_paper_s(network):
    """AlexNet: 227 pixels, 256 x 6 x 6; VGG-16: 224, 512 x 7 x 7; 16 pixels of context."""
    facts = network.crops.side, network.crops.context, network.crops.mode, network.num_pooled
    vgg = network.backbone.out_channels == 512
    assert facts == ((224, 16, "warp", 25_088) if vgg else (227, 16, "warp", 9216))


def test_nothing_is_frozen_though_it_is_pretrained(network):
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_squeezenet_takes_crops_of_any_side_and_gets_new_layers():
    for side in (64, 112, 150):
        network = build_region_network("squeezenet1_0", side=side, context=8, head_width=32)
        with torch.no_grad():
            pooled = network(torch.randn(2, 3, side, side))
        assert pooled.shape == (2, network.num_pooled) == (2, 512 * 9)
        assert network.head.layers(pooled).shape == (2, 32)


def test_some_stages_can_be_frozen():
    network = build_region_network("squeezenet1_0", trainable_stages=1)
    learns = [next(stage.parameters()).requires_grad for stage in network.backbone.stages]
    assert learns == [False, False, False, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param({"name": "vgg"}, 'no network "vgg". Nearest: "vgg16"', id="name"),
        pytest.param({"name": "vgg16", "side": 227}, "crops of 224 pixels, not 227", id="side"),
        pytest.param(
            {"name": "squeezenet1_0", "side": 32}, "32 pixels with 16 .* no room", id="context"
        ),
    ],
)
def test_what_cannot_be_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        build_region_network(**arguments)


def test_every_name_is_known():
    assert set(REGION_NETWORKS) == {"caffenet", "alexnet", "vgg16", "squeezenet1_0"}
