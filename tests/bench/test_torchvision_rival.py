"""Torchvision's builder as a `Detector`: the contract that training and metrics rely on."""

import pytest
import torch

from lit_detseg.bench.torchvision_rival import TorchvisionRival
from lit_detseg.models.mask_stage import MaskSettings
from lit_detseg.models.proposals import AnchorSettings
from lit_detseg.models.roi_stage import DetectionSettings, RoISettings
from tests.tiny_detection import FEW_PROPOSALS, make_images, make_target


@pytest.fixture(scope="module")
def rival():
    torch.manual_seed(0)
    return TorchvisionRival(
        num_classes=3,
        network="resnet18",
        channels=32,
        anchors=AnchorSettings(sizes=((8.0,), (16.0,), (32.0,), (64.0,), (96.0,))),
        num_anchors=16,
        proposals=FEW_PROPOSALS,
        rois=RoISettings(num_samples=8),
        detections=DetectionSettings(min_score=0.0, max_detections=5),
        masks=MaskSettings(hidden_channels=32, norm="group"),
        head_width=16,
    )


def test_its_settings_are_ours(rival):
    rpn, heads = rival.model.rpn, rival.model.roi_heads
    assert rpn._pre_nms_top_n == {
        "training": FEW_PROPOSALS.training_before_nms,
        "testing": FEW_PROPOSALS.before_nms,
    }
    assert rpn._post_nms_top_n == {
        "training": FEW_PROPOSALS.training_after_nms,
        "testing": FEW_PROPOSALS.after_nms,
    }
    assert rpn.nms_thresh == FEW_PROPOSALS.nms_iou
    assert rpn.fg_bg_sampler.batch_size_per_image == 16
    assert heads.fg_bg_sampler.batch_size_per_image == 8
    assert heads.detections_per_img == 5


def test_five_losses_reach_every_parameter(rival):
    target = make_target([[4, 4, 40, 30], [20, 10, 60, 50]], [2, 0], masks=True)
    losses = rival(make_images([(64, 96), (50, 70)]), [target, make_target([], [], masks=True)])
    assert list(losses) == ["rpn_objectness", "rpn_box", "classification", "box_regression", "mask"]
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad is not None for p in rival.parameters())


@torch.no_grad()
def test_masks_have_the_size_of_the_image_without_padding(rival):
    for found, size in zip(
        rival(make_images([(64, 96), (50, 70)])), [(64, 96), (50, 70)], strict=True
    ):
        assert found.masks.shape == (len(found.boxes), *size)
        assert found.masks.dtype == torch.bool
        assert ((found.labels >= 0) & (found.labels < 3)).all()


@torch.no_grad()
def test_an_image_is_looked_at_as_large_as_it_is(rival):
    """Its backbone sees as many pixels in use as in training: torchvision would make it 800."""
    seen = []
    handle = rival.model.backbone.register_forward_pre_hook(
        lambda module, given: seen.append(tuple(given[0].shape))
    )
    rival(make_images([(64, 96)]))
    rival(make_images([(64, 96)]), [make_target([[4, 4, 40, 30]], [2], masks=True)])
    handle.remove()
    assert seen == [(1, 3, 64, 96)] * 2


@torch.no_grad()
def test_boxes_are_those_of_float32_under_autocast(rival):
    images = make_images([(64, 96)])
    (expected,) = rival(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = rival(images)
    assert torch.equal(found.boxes, expected.boxes)
