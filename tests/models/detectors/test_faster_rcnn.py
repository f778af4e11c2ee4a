"""Faster R-CNN as a whole: what the split of a batch, its padding and autocast may not change."""

import pytest
import torch
from torch import nn
from torchvision.ops import box_iou

from lit_detseg.models.backbones.backbone import HeadLayers
from lit_detseg.models.roi_stage import RoISettings
from lit_detseg.structures import Images, UserError
from tests.tiny_detection import TinyBackbone, make_images, make_target, tiny_faster_rcnn

TARGETS = [
    make_target([[4, 4, 30, 30]], [2]),
    make_target([], []),
    make_target([[10, 20, 40, 60], [50, 5, 90, 25]], [0, 1]),
    make_target([[60, 30, 76, 46]], [1]),
]


def gradients(model, images, targets):
    model.zero_grad()
    losses = model(images, targets)
    torch.stack(list(losses.values())).sum().backward()
    return losses, [parameter.grad.clone() for parameter in model.parameters()]


def part(images, rows):
    return Images(images.pixels[rows], images.sizes[rows], None, images.seeds[rows])


def test_a_batch_on_two_ranks_is_the_batch_on_one():
    """Losses and gradients of the whole are the means of those of its halves, which DDP takes."""
    model = tiny_faster_rcnn()
    images = make_images([(64, 96), (50, 70), (64, 96), (60, 96)], seeds=[11, 12, 13, 14])

    whole, whole_gradient = gradients(model, images, TARGETS)
    first, first_gradient = gradients(model, part(images, slice(0, 2)), TARGETS[:2])
    second, second_gradient = gradients(model, part(images, slice(2, 4)), TARGETS[2:])

    for name, value in whole.items():
        torch.testing.assert_close(value, (first[name] + second[name]) / 2)
    for grad, one, two in zip(whole_gradient, first_gradient, second_gradient, strict=True):
        torch.testing.assert_close(grad, (one + two) / 2, rtol=1e-4, atol=1e-6)


def test_seeds_alone_decide_what_is_drawn():
    model, images = tiny_faster_rcnn(), make_images([(64, 96)])
    targets = TARGETS[2:3]

    def total(seed):
        seeds = None if seed is None else torch.tensor([seed])
        losses = model(images._replace(seeds=seeds), targets)
        torch.rand(3)  # the global generator moves on
        return torch.stack(list(losses.values())).sum().item()

    assert total(5) == total(5)
    assert total(5) != total(6)
    assert total(None) == total(0)


def test_pixels_may_be_bytes_or_floats():
    model, images = tiny_faster_rcnn(), make_images([(64, 96)])
    (as_bytes,), (as_floats,) = model(images), model(images._replace(pixels=images.pixels.float()))
    assert torch.equal(as_bytes.boxes, as_floats.boxes)


def test_boxes_and_losses_are_float32_under_autocast():
    model, images = tiny_faster_rcnn(), make_images([(64, 96), (50, 70)])
    exact = model(images, TARGETS[1:3])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses, detections = model(images, TARGETS[1:3]), model(images)
    assert {value.dtype for value in losses.values()} == {torch.float32}
    assert {part.dtype for part in (detections[0].boxes, detections[0].scores)} == {torch.float32}
    for name in losses:
        torch.testing.assert_close(losses[name], exact[name], rtol=0.05, atol=0.01)


def test_no_gradient_reaches_the_proposal_network_through_the_second_stage():
    """Proposals are constants: approximate joint training (section 3.2)."""
    model = tiny_faster_rcnn()
    losses = model(make_images([(64, 96)]), TARGETS[:1])
    (losses["classification"] + losses["box_regression"]).backward()
    assert all(parameter.grad is None for parameter in model.rpn.parameters())
    assert model.backbone.fine.weight.grad.abs().sum() > 0


def test_the_coarsest_map_of_a_pyramid_only_proposes():
    model = tiny_faster_rcnn(backbone=TinyBackbone(roi_levels=1))
    assert model.rpn.strides == (4, 8)
    assert model.roi_stage.strides == (4,)


class PretrainedHead(TinyBackbone):
    """Brings layers for the box head, as VGG-16 does."""

    def __init__(self):
        super().__init__()
        layers = nn.Sequential(nn.Flatten(), nn.Linear(8 * 7 * 7, 20), nn.ReLU())
        self.head_layers = HeadLayers(nn.Identity(), layers, 20, bins=7, trunk_channels=8)


def test_pretrained_layers_of_a_backbone_become_the_heads():
    backbone = PretrainedHead()
    weight = backbone.head_layers.layers[1].weight
    model = tiny_faster_rcnn(backbone=backbone)
    assert model.roi_stage.head.layers[1].weight is weight
    holders = [name for name in model.state_dict() if name.endswith("layers.1.weight")]
    assert holders == ["roi_stage.head.layers.1.weight"]


def test_pretrained_layers_that_do_not_fit_are_explained():
    with pytest.raises(UserError, match="5 x 5 bins, but the backbone brings layers for 7 x 7"):
        tiny_faster_rcnn(backbone=PretrainedHead(), rois=RoISettings(output_size=5))


def test_it_learns_to_find_a_square():
    """A white square on black, always at the same place: found after a hundred steps."""
    model = tiny_faster_rcnn(rois=RoISettings(pooling="roi_align"))
    pixels = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    pixels[:, :, 20:44, 32:56] = 255
    images = Images(pixels, torch.tensor([[64, 96]]))
    targets = [make_target([[32, 20, 56, 44]], [1])]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        torch.stack(list(model(images, targets).values())).sum().backward()
        optimizer.step()

    (found,) = model(images)

    assert found.labels[0] == 1
    assert found.scores[0] > 0.5
    assert box_iou(found.boxes[:1], targets[0].boxes) > 0.8
