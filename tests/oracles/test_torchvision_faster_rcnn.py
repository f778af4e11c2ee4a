"""Our Faster R-CNN and torchvision's, with the same weights: same losses, same detections.

Both draw everything there is to draw (their limits are far above the number of anchors), so no
generator takes part. The settings chosen are torchvision's fixed ones; the docstring of
`FasterRCNNDetector` lists what remains different.
"""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import MultiScaleRoIAlign

from lit_detseg.models.proposals import AnchorLearning, AnchorSettings, ProposalSettings
from lit_detseg.models.roi_stage import DetectionSettings, RoISettings
from lit_detseg.structures import Images
from tests.tiny_detection import make_images, make_target, tiny_faster_rcnn

SIZES, RATIOS, EVERYTHING = ((16.0, 24.0), (40.0, 50.0)), (0.5, 1.0, 2.0), 10**6


class TheirBackbone(nn.Module):
    """Our tiny backbone behind torchvision's interface."""

    out_channels = 8

    def __init__(self, ours):
        super().__init__()
        self.ours = ours

    def forward(self, pixels):
        return OrderedDict(zip(("0", "1"), self.ours.extract(pixels), strict=True))


def build_ours():
    return tiny_faster_rcnn(
        rpn={
            "hidden_channels": 8,
            "anchors": AnchorSettings(SIZES, RATIOS, rounding="torchvision", center=0.0),
            "learning": AnchorLearning(
                num_samples=EVERYTHING, ignore_crossing=False, balance="released_code"
            ),
            "proposals": ProposalSettings(60, 40, 50, 30, nms_iou=0.7, min_side=1e-3),
        },
        rois=RoISettings("roi_align_legacy", num_samples=EVERYTHING, beta=1 / 9),
        detections=DetectionSettings(min_score=0.05, nms_iou=0.5, max_detections=25),
    )


def build_theirs(backbone):
    return FasterRCNN(
        TheirBackbone(backbone),
        min_size=64,
        max_size=96,
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=AnchorGenerator(SIZES, (RATIOS, RATIOS)),
        rpn_pre_nms_top_n_train=60,
        rpn_post_nms_top_n_train=40,
        rpn_pre_nms_top_n_test=50,
        rpn_post_nms_top_n_test=30,
        rpn_batch_size_per_image=EVERYTHING,
        box_batch_size_per_image=EVERYTHING,
        box_roi_pool=MultiScaleRoIAlign(["0", "1"], output_size=7, sampling_ratio=2),
        box_head=TwoMLPHead(8 * 7 * 7, 32),
        box_predictor=FastRCNNPredictor(32, 4),  # background is one of the four
        box_detections_per_img=25,
    )


@pytest.fixture(scope="module")
def pair():
    """Both detectors, with random weights large enough for decided answers."""
    torch.manual_seed(1)
    ours = build_ours()
    theirs = build_theirs(ours.backbone)
    for parameter in theirs.rpn.parameters():
        nn.init.normal_(parameter, std=0.2)
    for parameter in theirs.roi_heads.parameters():
        nn.init.normal_(parameter, std=0.2)
    names = {
        "rpn.head.convs.0": theirs.rpn.head.conv[0][0],
        "rpn.head.objectness": theirs.rpn.head.cls_logits,
        "rpn.head.offsets": theirs.rpn.head.bbox_pred,
        "roi_stage.head.layers.1": theirs.roi_heads.box_head.fc6,
        "roi_stage.head.layers.3": theirs.roi_heads.box_head.fc7,
        "roi_stage.head.class_logits": theirs.roi_heads.box_predictor.cls_score,
        "roi_stage.head.offsets": theirs.roi_heads.box_predictor.bbox_pred,
    }
    for name, layer in names.items():
        ours.get_submodule(name).load_state_dict(layer.state_dict())
    return ours, theirs


IMAGES = make_images([(64, 96)] * 3)
TARGETS = [
    make_target([[4, 4, 30, 30], [20, 10, 70, 44]], [2, 0]),
    make_target([[50, 20, 66, 36]], [1]),
    make_target([[10, 20, 40, 60], [50, 5, 90, 25], [12, 22, 40, 58]], [0, 1, 2]),
]


def their_losses(theirs, images, targets):
    theirs.train()
    return theirs(
        list(images.pixels.float() / 255),
        [{"boxes": target.boxes, "labels": target.labels + 1} for target in targets],
    )


def one(images, i):
    return Images(images.pixels[i : i + 1], images.sizes[i : i + 1])


THEIR_NAMES = {
    "rpn_objectness": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "classification": "loss_classifier",
    "box_regression": "loss_box_reg",
}


@pytest.mark.parametrize("i", range(3))
def test_the_four_losses_of_an_image_agree(pair, i):
    ours, theirs = pair
    expected = their_losses(theirs, one(IMAGES, i), TARGETS[i : i + 1])
    losses = ours(one(IMAGES, i), TARGETS[i : i + 1])
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[THEIR_NAMES[name]], rtol=1e-5, atol=1e-8)
        assert value > 1e-5  # something was compared


def test_the_losses_of_a_batch_are_the_mean_of_theirs_per_image(pair):
    ours, theirs = pair
    singly = [their_losses(theirs, one(IMAGES, i), TARGETS[i : i + 1]) for i in range(3)]
    for name, value in ours(IMAGES, TARGETS).items():
        mean = torch.stack([loss[THEIR_NAMES[name]] for loss in singly]).mean()
        torch.testing.assert_close(value, mean, rtol=1e-5, atol=1e-8)


def test_gradients_agree(pair):
    ours, theirs = pair
    for module, losses in (
        (ours, lambda: ours(one(IMAGES, 0), TARGETS[:1])),
        (theirs, lambda: their_losses(theirs, one(IMAGES, 0), TARGETS[:1])),
    ):
        module.zero_grad()
        torch.stack(list(losses().values())).sum().backward()
        gradient = ours.backbone.fine.weight.grad.clone()  # the backbone is one and the same
        if module is ours:
            expected = gradient
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-5)


def test_detections_agree(pair):
    ours, theirs = pair
    theirs.eval()
    with torch.no_grad():
        expected = theirs(list(IMAGES.pixels.float() / 255))
        detections = ours(IMAGES)
    for mine, their in zip(detections, expected, strict=True):
        assert len(mine.boxes) > 5
        assert torch.equal(mine.labels, their["labels"] - 1)
        torch.testing.assert_close(mine.boxes, their["boxes"], rtol=0, atol=1e-4)
        torch.testing.assert_close(mine.scores, their["scores"], rtol=0, atol=1e-6)
