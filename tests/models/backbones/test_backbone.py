"""What every backbone promises."""

import copy
import math

import pytest
import torch
from torch import nn

from lit_detseg.models.backbones import BACKBONES, build_backbone
from lit_detseg.models.backbones.backbone import freeze_stages
from lit_detseg.models.backbones.response_norm import ResponseNorm
from lit_detseg.structures import Images, UserError

ONE_OF_EACH = [name for name in BACKBONES if name not in ("resnet50_fpn", "resnet101_fpn")]
LIGHT = ["resnet18_fpn", "squeezenet1_0", "squeezenet1_0_fpn", "tiny_fpn"]


def noise(*sizes):
    """Random images of these sizes, padded to a common one."""
    height, width = (max(side) for side in zip(*sizes, strict=True))
    pixels = torch.randint(0, 256, (len(sizes), 3, height, width), dtype=torch.uint8)
    return Images(pixels, torch.tensor(sizes))


@pytest.fixture(scope="module", params=ONE_OF_EACH)
def backbone(request):
    torch.manual_seed(0)
    return build_backbone(request.param)


@pytest.mark.parametrize("size", [(127, 201), (64, 32), (65, 33)])
def test_sizes_of_maps_are_rounded_up(backbone, size):
    with torch.no_grad():
        maps = backbone(noise(size))

    assert [tuple(m.shape) for m in maps] == [
        (1, backbone.out_channels, math.ceil(size[0] / stride), math.ceil(size[1] / stride))
        for stride in backbone.strides
    ]


def test_every_trainable_parameter_learns_from_the_maps(backbone):
    loss = sum(features.square().sum() for features in backbone(noise((64, 64), (40, 60))))
    loss.backward()

    idle = [
        name
        for name, parameter in backbone.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert idle == []
    backbone.zero_grad()


def test_what_lies_in_the_padding_does_not_matter(backbone):
    images = noise((48, 64), (64, 40))
    scribbled = images.pixels.clone()
    scribbled[0, :, 48:], scribbled[1, :, :, 40:] = 0, 99

    with torch.no_grad():
        maps = backbone(images)
        others = backbone(images._replace(pixels=scribbled))

    assert all(a.equal(b) for a, b in zip(maps, others, strict=True))


def test_normalisation_travels_with_the_weights(backbone):
    stored = [name for name in backbone.state_dict() if name.startswith("normalization.")]
    assert sorted(stored) == [f"normalization.{name}" for name in ("mean", "order", "std")]


@pytest.mark.parametrize("name", LIGHT)
def test_a_state_dict_is_the_whole_network(name):
    first = build_backbone(name, pixel_statistics="caffe").eval()
    second = build_backbone(name).eval()
    images = noise((64, 64))

    second.load_state_dict(first.state_dict())

    assert all(a.equal(b) for a, b in zip(first(images), second(images), strict=True))


@pytest.mark.parametrize(
    ("name", "centres"),
    [
        # Middle of what cell 0 sees, in continuous pixels; the middle of the cell is stride / 2.
        pytest.param("tiny_fpn", {4: 2, 8: 4, 16: 8}, id="tiny: on the cells"),
        pytest.param("vgg16", {16: 8}, id="VGG-16: on the cells"),
        pytest.param("alexnet", {16: 0.5}, id="AlexNet: top left"),
        pytest.param("caffenet", {16: 0.5}, id="CaffeNet: top left"),
        pytest.param("zf", {16: 0.5}, id="ZF: top left"),
        pytest.param("squeezenet1_0", {4: 2.5, 8: 2.5, 16: 10.5}, id="SqueezeNet: padded anew"),
        pytest.param("resnet18_fpn", {4: 0.5, 8: 0.5, 16: 0.5}, id="ResNet: top left"),
    ],
)
def test_receptive_fields_are_centred_where_documented(name, centres):
    stages, size = averaging_stages(build_backbone(name)), 384
    for stride, centre in centres.items():
        pixels = torch.ones(1, 3, size, 32, requires_grad=True)
        features, cell = features_at(stride, stages, pixels), size // stride // 2

        features[0, :, cell].sum().backward()

        seen = pixels.grad[0].sum(dim=(0, 2)).nonzero().squeeze(1)
        assert (seen[0] + seen[-1] + 1).item() / 2 - cell * stride == centre


def averaging_stages(backbone):
    """The same geometry, all positive and linear: the gradient covers the receptive field."""
    stages = [backbone.stem, *backbone.stages] if hasattr(backbone, "stem") else backbone.stages
    stages = nn.Sequential(*stages)
    for name, module in list(stages.named_modules()):
        parent, _, own_name = name.rpartition(".")
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        if isinstance(module, nn.GroupNorm | ResponseNorm):
            setattr(stages.get_submodule(parent), own_name, nn.Identity())
        if isinstance(module, nn.MaxPool2d):
            window = module.kernel_size, module.stride, module.padding, module.ceil_mode
            setattr(stages.get_submodule(parent), own_name, nn.AvgPool2d(*window))
    return stages


def features_at(stride, stages, pixels):
    """The deepest map of this stride."""
    features = pixels
    for stage in stages:
        deeper = stage(features)
        if deeper.shape[2] < pixels.shape[2] // stride:
            break
        features = deeper
    return features


def test_stages_are_frozen_from_the_pixels_on():
    stages = [nn.Linear(1, 1) for _ in range(4)]

    freeze_stages(stages, trainable=1, pretrained=False)

    assert [stage.weight.requires_grad for stage in stages] == [False, False, False, True]


@pytest.mark.parametrize(
    ("pretrained", "trainable"), [(True, [False, False, True]), (False, [True, True, True])]
)
def test_two_stages_are_frozen_by_default_when_pretrained(pretrained, trainable):
    stages = [nn.Linear(1, 1) for _ in range(3)]
    freeze_stages(stages, None, pretrained)
    assert [stage.weight.requires_grad for stage in stages] == trainable


def test_more_trainable_stages_than_there_are_is_refused():
    with pytest.raises(UserError, match="trainable_stages = 6.* 5 stages.* 0 .* to 5"):
        build_backbone("resnet18_fpn", trainable_stages=6)


def test_an_unknown_backbone_is_answered_with_the_nearest():
    with pytest.raises(UserError, match='"resnet50-fpn".*Nearest: "resnet50_fpn"; known: .*vgg16'):
        build_backbone("resnet50-fpn")


def test_norm_is_refused_where_there_is_none_to_choose():
    with pytest.raises(UserError, match='norm = "group" is for ResNet; vgg16 has no choice'):
        build_backbone("vgg16", norm="group")


def test_tiny_has_no_pretrained_weights():
    with pytest.raises(UserError, match='weights = "DEFAULT" must be "none"'):
        build_backbone("tiny_fpn", weights="DEFAULT")


def test_copies_share_nothing():
    original = build_backbone("tiny_fpn")
    twin = copy.deepcopy(original)
    with torch.no_grad():
        twin.stem[1].weight.zero_()
    assert original.stem[1].weight.abs().sum() > 0


@pytest.mark.parametrize("name", ["resnet18_fpn", "vgg16", "squeezenet1_0_fpn", "tiny_fpn"])
def test_with_no_trainable_stage_nothing_learns_neck_and_batch_statistics_included(name):
    norm = {"norm": "sync_batch"} if name.startswith("resnet") else {}
    backbone = build_backbone(name, trainable_stages=0, **norm)
    before = copy.deepcopy(backbone.state_dict())

    maps = backbone.train()(noise((64, 64)))

    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.modules())
    assert not any(features.requires_grad for features in maps)
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_the_head_layers_of_a_frozen_backbone_learn():
    layers = build_backbone("vgg16", trainable_stages=0).head_layers.layers
    assert all(parameter.requires_grad for parameter in layers.parameters())


def test_the_first_stages_of_the_tiny_backbone_can_be_frozen_too():
    backbone = build_backbone("tiny_fpn", trainable_stages=1)
    learning = {n.split(".")[0:2][-1] for n, p in backbone.named_parameters() if p.requires_grad}
    frozen = [n for n, p in backbone.named_parameters() if not p.requires_grad]
    assert all(name.startswith(("stem.", "stages.0.", "stages.1.")) for name in frozen)
    assert "2" in learning
