"""ResNet's layers against torchvision's, and what is frozen."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from torchvision.ops import FrozenBatchNorm2d

from lit_detseg.models.backbones import build_backbone
from lit_detseg.models.backbones.resnet import ResNetC4, ResNetDC5, ResNetFPN
from lit_detseg.structures import Images, UserError


@pytest.fixture(scope="module")
def classifier():
    """A torchvision classifier whose batch statistics are not the initial ones."""
    torch.manual_seed(0)
    network = resnet18()
    network(torch.randn(4, 3, 64, 64))
    return network.eval()


@pytest.fixture(scope="module")
def weights(classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(classifier.state_dict(), path)
    return str(path)


def noise(batch=2):
    pixels = torch.randint(0, 256, (batch, 3, 64, 64), dtype=torch.uint8)
    return Images(pixels, torch.full((batch, 2), 64))


def test_frozen_statistics_give_what_the_classifier_gives_in_evaluation(classifier, weights):
    backbone = ResNetFPN("resnet18", weights).train()
    pixels = torch.randn(2, 3, 64, 64)

    features = backbone.stem(pixels)
    expected = classifier.maxpool(classifier.relu(classifier.bn1(classifier.conv1(pixels))))
    for number, stage in enumerate(backbone.stages, start=1):
        features = stage(features)
        expected = getattr(classifier, f"layer{number}")(expected)

    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_stem_and_first_layer_are_frozen_with_pretrained_weights(weights):
    backbone = ResNetFPN("resnet18", weights)
    learns = [
        any(parameter.requires_grad for parameter in stage.parameters())
        for stage in (backbone.stem, *backbone.stages)
    ]
    assert learns == [False, False, True, True, True]


@pytest.mark.parametrize("norm", ["frozen_batch", "sync_batch"])
def test_statistics_of_frozen_stages_stay_while_training(weights, norm):
    backbone = ResNetFPN("resnet18", weights, norm=norm).train()
    before = {name: value.clone() for name, value in backbone.named_buffers()}

    backbone(noise())

    moved = {name for name, value in backbone.named_buffers() if not value.equal(before[name])}
    assert not any(name.startswith(("stem.", "stages.0.")) for name in moved)
    assert bool(moved) is (norm == "sync_batch")


def test_norm_is_chosen_by_the_weights(weights):
    scratch, pretrained = ResNetFPN("resnet18"), ResNetFPN("resnet18", weights)
    assert any(isinstance(module, nn.GroupNorm) for module in scratch.modules())
    assert any(isinstance(module, FrozenBatchNorm2d) for module in pretrained.modules())


def test_a_network_for_a_checkpoint_is_built_without_the_weights(weights):
    pretrained = ResNetFPN("resnet18", weights, pixel_statistics="caffe").eval()
    images = noise()

    filled = ResNetFPN("resnet18", "from_checkpoint").eval()
    filled.load_state_dict(pretrained.state_dict())

    assert all(a.equal(b) for a, b in zip(pretrained(images), filled(images), strict=True))


@pytest.mark.parametrize(
    ("norm", "source", "message"),
    [
        ("frozen_batch", "none", 'norm = "frozen_batch" with weights = "none".*"group"'),
        ("group", "some.pth", 'norm = "group" cannot use weights.*"frozen_batch"'),
        ("batch", "none", 'norm = "batch": use "auto", "frozen_batch"'),
    ],
)
def test_norm_and_weights_must_agree(norm, source, message):
    with pytest.raises(UserError, match=message):
        ResNetFPN("resnet18", source, norm=norm)


def test_resnet50_has_the_papers_channels_and_size():
    """23,508,032 parameters without the classifier (torchvision's 25,557,032 - 2,049,000)."""
    backbone = ResNetFPN("resnet50")
    body = sum(p.numel() for p in backbone.parameters()) - sum(
        p.numel() for p in backbone.neck.parameters()
    )
    laterals = [block[0].in_channels for block in backbone.neck.pyramid.inner_blocks]

    assert body == 25_557_032 - 2_049_000
    assert laterals == [256, 512, 1024, 2048]


def test_c4_ends_with_layer3_and_hands_layer4_to_the_head():
    """res4 has 256 x 4 channels for bottlenecks, res5 512 x 4."""
    backbone = build_backbone("resnet50_c4")
    assert backbone.strides == (16,)
    assert backbone.out_channels == 1024
    assert len(backbone.stages) == 3
    assert backbone.head_layers.num_features == backbone.head_layers.trunk_channels == 2048
    assert not any("layer4" in name or "trunk" in name for name in backbone.state_dict())


def test_layer4_learns_though_all_stages_before_it_are_frozen():
    backbone = ResNetC4("resnet18", "from_checkpoint", trainable_stages=0)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(parameter.requires_grad for parameter in backbone.head_layers.trunk.parameters())


def test_a_dilated_res5_keeps_the_resolution_and_sees_every_other_cell():
    """Three blocks with a 3x3 convolution each, dilated by 2: 2, 4, 6 cells to either side."""
    trunk = ResNetDC5("resnet50", norm="sync_batch").head_layers.trunk.eval()
    features = torch.rand(1, 1024, 15, 16).requires_grad_()

    judged = trunk(features)
    judged[0, :, 7, 7].sum().backward()

    assert judged.shape == (1, 2048, 15, 16)
    seen = features.grad[0].abs().sum(dim=(0, 1)).nonzero().squeeze(1)
    assert seen.tolist() == [1, 3, 5, 7, 9, 11, 13]
