"""Torchvision's four ResNet-50-FPN detectors and ours with their weights: the same numbers.

Torchvision's own builders make the random weights; the weights of COCO have the same names. Both
draw everything there is to draw, so no generator takes part.
"""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import get_model
from torchvision.models.detection.roi_heads import paste_masks_in_image
from torchvision.models.resnet import Bottleneck

from lit_detseg.models.weights.torchvision_detectors import (
    TorchvisionFasterRCNN,
    TorchvisionMaskRCNN,
    class_rows,
    copy_torchvision,
)
from lit_detseg.ops.masks import rasterise
from lit_detseg.structures import UserError
from tests.tiny_detection import make_images, make_target

NUM_CLASSES, EVERYTHING = 3, 10**6
IMAGES = make_images([(96, 128)])
TARGET = make_target([[10, 20, 60, 90], [50, 5, 120, 45], [12, 22, 62, 88]], [0, 1, 2], masks=True)

BUILDERS = {
    ("faster", 1): ("fasterrcnn_resnet50_fpn", TorchvisionFasterRCNN),
    ("faster", 2): ("fasterrcnn_resnet50_fpn_v2", TorchvisionFasterRCNN),
    ("mask", 1): ("maskrcnn_resnet50_fpn", TorchvisionMaskRCNN),
    ("mask", 2): ("maskrcnn_resnet50_fpn_v2", TorchvisionMaskRCNN),
}
THEIR_NAMES = {
    "rpn_objectness": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "classification": "loss_classifier",
    "box_regression": "loss_box_reg",
    "mask": "loss_mask",
}


def build_theirs(name):
    """With last layers large enough for decided answers, images as they come, everything drawn.

    Random residual blocks add up; a small last norm of each keeps features at the scale of trained
    ones, so that rounding does not decide which boxes there are.
    """
    torch.manual_seed(0)
    theirs = get_model(
        name,
        weights=None,
        weights_backbone=None,
        num_classes=NUM_CLASSES + 1,
        min_size=96,
        max_size=128,
    )
    for module in theirs.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, 0.2)
    for module in (theirs.rpn.head.cls_logits, theirs.rpn.head.bbox_pred):
        nn.init.normal_(module.weight, std=0.002)
    for module in (
        theirs.roi_heads.box_predictor.cls_score,
        theirs.roi_heads.box_predictor.bbox_pred,
    ):
        nn.init.normal_(module.weight, std=0.05)
    for sampler in (theirs.rpn.fg_bg_sampler, theirs.roi_heads.fg_bg_sampler):
        sampler.batch_size_per_image = EVERYTHING
    return theirs


def draw_everything(ours):
    ours.rpn.learning = replace(ours.rpn.learning, num_samples=EVERYTHING)
    ours.roi_stage.rois = replace(ours.roi_stage.rois, num_samples=EVERYTHING)
    return ours


@pytest.fixture(scope="module", params=BUILDERS, ids=lambda key: f"{key[0]}, version {key[1]}")
def pair(request):
    name, build = BUILDERS[request.param]
    theirs = build_theirs(name)
    ours = build(NUM_CLASSES, request.param[1], trainable_stages=5)
    copy_torchvision(theirs, ours)
    return draw_everything(ours), theirs, request.param[1]


def training(theirs, version):
    """Version 1 is published with frozen batch normalisation."""
    theirs.train()
    if version == 1:
        for module in theirs.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    return theirs


def test_the_losses_agree(pair):
    ours, theirs, version = pair
    ours, theirs = copy.deepcopy(ours), copy.deepcopy(theirs)  # running statistics move
    pixels = list(IMAGES.pixels.float() / 255)
    whole = torch.tensor([[0.0, 0, 128, 96]] * 3).double().numpy()
    bitmaps = rasterise(TARGET.masks, torch.arange(3).numpy(), whole, 96, 128)
    target = {"boxes": TARGET.boxes, "labels": TARGET.labels + 1}
    target["masks"] = torch.from_numpy(bitmaps).to(torch.uint8)

    expected = training(theirs, version)(pixels, [target])
    losses = ours.train()(IMAGES, [TARGET])

    assert {THEIR_NAMES[name] for name in losses} == set(expected)
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[THEIR_NAMES[name]], rtol=1e-5, atol=1e-6)
        assert value > 1e-5  # something was compared


@torch.no_grad()
def test_boxes_and_masks_agree(pair):
    ours, theirs, _ = pair
    (expected,) = theirs.eval()(list(IMAGES.pixels.float() / 255))
    (found,) = ours.eval()(IMAGES)

    assert len(found.boxes) > 10
    assert torch.equal(found.labels + 1, expected["labels"])
    torch.testing.assert_close(found.boxes, expected["boxes"], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, expected["scores"], rtol=0, atol=1e-5)
    if found.mask_cells is not None:
        pasted = paste_masks_in_image(found.mask_cells[:, None], found.boxes, (96, 128))
        torch.testing.assert_close(pasted, expected["masks"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("key", [("mask", 1), ("faster", 2)])
def test_a_file_of_torchvision_s_weights_is_read(key, tmp_path):
    """Also under the names that version 1 was published with, years ago."""
    name, build = BUILDERS[key]
    theirs = build_theirs(name)
    values = theirs.state_dict()
    if key[1] == 1:
        values = {as_published(name): value for name, value in values.items()}
        assert "backbone.fpn.inner_blocks.0.weight" in values
        assert "roi_heads.mask_head.mask_fcn1.weight" in values
    torch.save(values, tmp_path / "theirs.pth")

    ours = build(NUM_CLASSES, key[1], str(tmp_path / "theirs.pth"))

    fc6 = [m for m in theirs.roi_heads.box_head.modules() if isinstance(m, nn.Linear)][0]
    ours_fc6 = [m for m in ours.roi_stage.head.layers if isinstance(m, nn.Linear)][0]
    assert torch.equal(ours_fc6.weight, fc6.weight)
    lateral = theirs.backbone.fpn.inner_blocks[0][0].weight
    assert torch.equal(ours.backbone.neck.pyramid.inner_blocks[0][0].weight, lateral)


def as_published(name):
    parts = name.split(".")
    if "inner_blocks" in parts or "layer_blocks" in parts:
        del parts[-2]
    if name.startswith("rpn.head.conv."):
        parts = [*parts[:3], parts[-1]]
    if "mask_head" in parts:
        parts = ["roi_heads", "mask_head", f"mask_fcn{int(parts[2]) + 1}", parts[-1]]
    return ".".join(parts)


def test_a_file_of_something_else_is_refused(tmp_path):
    values = get_model("fasterrcnn_mobilenet_v3_large_320_fpn", weights=None, weights_backbone=None)
    torch.save(values.state_dict(), tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other.pth\" is not a fasterrcnn_resnet50_fpn of torchv"):
        TorchvisionFasterRCNN(NUM_CLASSES, 1, str(tmp_path / "other.pth"))


def test_coco_s_80_classes_are_81_of_torchvision_s_91_rows():
    """Ids 1 to 90 with holes: 12, 26, 29, 30, 45, 66, 68, 69, 71 and 83 are no class."""
    rows = class_rows(81, 91)
    assert sorted(set(range(91)) - set(rows)) == [12, 26, 29, 30, 45, 66, 68, 69, 71, 83]


@pytest.mark.parametrize(("wanted", "rows"), [(4, [0, 1, 2, 3]), (5, None)])
def test_other_classes_take_all_rows_or_none(wanted, rows):
    assert class_rows(wanted, 4) == rows
