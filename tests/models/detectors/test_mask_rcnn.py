"""Mask R-CNN as a whole: five losses, shared layers, and masks that fit what was drawn."""

import pytest
import torch
from torch import nn

from lit_detseg.models.backbones.resnet import ResNetC4
from lit_detseg.models.mask_stage import MaskSettings
from lit_detseg.modules.two_stage import MaskRCNN
from lit_detseg.structures import Images
from tests.tiny_detection import make_images, make_target, tiny_mask_rcnn

TARGETS = [
    make_target([[4, 4, 30, 30]], [2], masks=True),
    make_target([[10, 20, 40, 60], [50, 5, 90, 25]], [0, 1], masks=True),
]


def test_five_losses_in_the_paper_s_order():
    losses = tiny_mask_rcnn()(make_images([(64, 96)] * 2), TARGETS)
    names = ["rpn_objectness", "rpn_box", "classification", "box_regression", "mask"]
    assert list(losses) == names


def test_a_batch_on_two_ranks_is_the_batch_on_one():
    model, images = tiny_mask_rcnn(), make_images([(64, 96)] * 2, seeds=[11, 12])
    whole = model(images, TARGETS)["mask"]
    halves = [
        model(Images(images.pixels[i], images.sizes[i], None, images.seeds[i]), TARGETS[i])["mask"]
        for i in (slice(0, 1), slice(1, 2))
    ]
    torch.testing.assert_close(whole, torch.stack(halves).mean())


def test_masks_do_not_change_the_other_branches():
    """Independent masks: with or without their loss, boxes and classes learn the same."""
    images = make_images([(64, 96)] * 2)
    losses = tiny_mask_rcnn()(images, TARGETS)
    competing = MaskSettings(output_size=4, num_convs=1, hidden_channels=8, classes="competing")
    others = tiny_mask_rcnn(masks=competing)(images, TARGETS)
    for name in ("rpn_objectness", "rpn_box", "classification", "box_regression"):
        assert losses[name].item() == pytest.approx(others[name].item(), rel=1e-5)


@pytest.fixture(scope="module")
def c4():
    torch.manual_seed(0)
    backbone = ResNetC4("resnet18")
    return MaskRCNN(num_classes=2, backbone=backbone, rpn_channels=16).model


def test_c4_shares_res5_between_boxes_and_masks(c4):
    """It is in the state once, and both branches send gradients through it."""
    trunk = c4.roi_stage.head.trunk
    assert not any(name.startswith("mask_stage.trunk") for name in c4.state_dict())
    losses = c4(make_images([(64, 96)]), [make_target([[4, 4, 60, 60]], [1], masks=True)])
    for name in ("classification", "mask"):
        c4.zero_grad()
        losses[name].backward(retain_graph=True)
        assert trunk[0].conv1.weight.grad.abs().sum() > 0


def test_c4_of_the_paper_keeps_the_resolution_of_7_x_7_bins(c4):
    assert c4.roi_stage.rois.output_size == c4.mask_stage.masks.output_size == 7
    strides = {m.stride for m in c4.roi_stage.head.trunk.modules() if isinstance(m, nn.Conv2d)}
    assert strides == {(1, 1)}
    assert c4.roi_stage.head.trunk(torch.zeros(1, 256, 7, 7)).shape == (1, 512, 7, 7)


def test_c4_of_detectron_halves_14_x_14_bins():
    layers = ResNetC4("resnet18", res5_stride=2).head_layers
    assert layers.bins == 14
    assert layers.trunk(torch.zeros(1, 256, 14, 14)).shape == (1, 512, 7, 7)


def test_it_learns_to_draw_a_triangle():
    """White on black. The mask of the best box is its lower left half."""
    model = tiny_mask_rcnn(num_classes=1)
    pixels = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    triangle = torch.ones(32, 32, dtype=torch.bool).tril()
    pixels[0, :, 16:48, 32:64][:, triangle] = 255
    target = make_target([[32, 16, 64, 48]], [0], masks=True)
    points = torch.tensor([[32.0, 16], [64, 48], [32, 48], [32, 16]]).numpy()
    target = target._replace(masks=target.masks._replace(points=points))
    images = Images(pixels, torch.tensor([[64, 96]]))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(120):
        optimizer.zero_grad()
        torch.stack(list(model(images, [target]).values())).sum().backward()
        optimizer.step()

    (found,) = model(images)

    inside = found.mask_cells[0] > 0.5
    truth = torch.ones(8, 8, dtype=torch.bool).tril()
    overlap = (inside & truth).sum() / (inside | truth).sum()
    assert overlap > 0.8
