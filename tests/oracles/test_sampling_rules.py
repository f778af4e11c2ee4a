"""What each paper calls an object, background or neither: a table of cases, by IoU.

A proposal of 100 x 10 pixels and an object that shares its left part have an IoU of overlap / 100;
everything is a whole number of pixels, so that thresholds are hit exactly.
"""

import pytest
import torch

from lit_detseg.assignment.matching import Objects, match_boxes
from lit_detseg.models.proposals import PAPER_LEARNING, AnchorLearning
from lit_detseg.models.roi_stage import FAST_RCNN_ROIS, PAPER_ROIS, RoISettings, RoIStage
from lit_detseg.modules.two_stage_settings import mask_rcnn_settings, pyramid_settings
from tests.tiny_detection import TinyBackbone

OBJECT, BACKGROUND, NEITHER = 1, 0, -1
FAR = [1000.0, 0, 1010, 10]

MASK_RCNN = mask_rcnn_settings(TinyBackbone())  # a pyramid


def proposal_of(iou_percent):
    """A box whose IoU with the object [0, 0, 100, 10] is that."""
    return [0.0, 0, iou_percent, 10]


def label_of_roi(settings: RoISettings, iou_percent):
    boxes = torch.tensor([proposal_of(iou_percent) if iou_percent else FAR])
    objects = torch.tensor([[0.0, 0, 100, 10]])
    return match_boxes(
        boxes, objects, settings.foreground_iou, settings.background_iou
    ).labels.item()


def label_of_anchor(learning: AnchorLearning, iou_percent):
    """Not the best of its object: another anchor covers it."""
    boxes = torch.tensor([proposal_of(iou_percent) if iou_percent else FAR, [0.0, 0, 100, 10]])
    objects = torch.tensor([[0.0, 0, 100, 10]])
    matches = match_boxes(
        boxes,
        objects,
        learning.foreground_iou,
        (0.0, learning.background_iou),
        keep_best=True,
    )
    return matches.labels[0].item()


@pytest.mark.parametrize(
    ("settings", "iou", "label"),
    [
        # Fast R-CNN, section 2.3: at least 0.5; [0.1, 0.5).
        pytest.param(FAST_RCNN_ROIS, 50, OBJECT, id="Fast R-CNN, 0.5: an object, inclusive"),
        pytest.param(FAST_RCNN_ROIS, 49, BACKGROUND, id="Fast R-CNN, 0.49"),
        pytest.param(FAST_RCNN_ROIS, 10, BACKGROUND, id="Fast R-CNN, 0.1: inclusive"),
        pytest.param(FAST_RCNN_ROIS, 9, NEITHER, id="Fast R-CNN, 0.09: too easy"),
        pytest.param(FAST_RCNN_ROIS, 0, NEITHER, id="Fast R-CNN, beside everything"),
        # py-faster-rcnn's end2end.yml: BG_THRESH_LO 0.
        pytest.param(PAPER_ROIS, 50, OBJECT, id="Faster R-CNN, 0.5"),
        pytest.param(PAPER_ROIS, 9, BACKGROUND, id="Faster R-CNN, 0.09"),
        pytest.param(PAPER_ROIS, 0, BACKGROUND, id="Faster R-CNN, beside everything"),
        # Mask R-CNN, section 3.1: an RoI is positive with an IoU of at least 0.5.
        pytest.param(MASK_RCNN.rois, 50, OBJECT, id="Mask R-CNN, 0.5"),
        pytest.param(MASK_RCNN.rois, 49, BACKGROUND, id="Mask R-CNN, 0.49"),
    ],
)
def test_rois(settings, iou, label):
    assert label_of_roi(settings, iou) == label


@pytest.mark.parametrize(
    ("iou", "label"),
    [
        # Faster R-CNN, section 3.1.2: "higher than 0.7" in the text, >= in anchor_target_layer.py.
        pytest.param(70, OBJECT, id="0.7: inclusive, as in the code"),
        pytest.param(69, NEITHER, id="0.69"),
        pytest.param(30, NEITHER, id="0.3: not lower than 0.3"),
        pytest.param(29, BACKGROUND, id="0.29"),
        pytest.param(0, BACKGROUND, id="beside everything"),
    ],
)
@pytest.mark.parametrize("learning", [PAPER_LEARNING, pyramid_settings((4, 8)).anchor_learning])
def test_anchors(learning, iou, label):
    assert label_of_anchor(learning, iou) == label


def test_all_best_anchors_of_an_object_are_its_own_however_little_they_overlap():
    """Two anchors of IoU 0.2 tie as the best of the object: both are objects, below 0.3."""
    anchors = torch.tensor([[0.0, 0, 20, 10], [80, 0, 100, 10], [0, 0, 10, 10]])
    matches = match_boxes(
        anchors, torch.tensor([[0.0, 0, 100, 10]]), 0.7, (0.0, 0.3), keep_best=True
    )
    assert matches.labels.tolist() == [OBJECT, OBJECT, BACKGROUND]


def test_anchors_across_the_border_are_neither_even_as_the_best():
    """Section 3.3: "we ignore all cross-boundary anchors so they do not contribute to the loss"."""
    anchors = torch.tensor([[-5.0, 0, 95, 10], [40, 0, 100, 10]])
    inside = torch.tensor([False, True])
    matches = match_boxes(anchors, torch.tensor([[0.0, 0, 100, 10]]), 0.7, (0.0, 0.3), True, inside)
    assert matches.labels.tolist() == [NEITHER, OBJECT]  # the best of those that may be used


@pytest.mark.parametrize(
    ("settings", "samples", "positives"),
    [
        pytest.param(FAST_RCNN_ROIS, 64, 16, id="Fast R-CNN: 64 of each of two images, 25 %"),
        pytest.param(PAPER_ROIS, 128, 32, id="Faster R-CNN: 128 of one image, 25 %"),
        pytest.param(MASK_RCNN.rois, 512, 128, id="Mask R-CNN on a pyramid: 512, 1 : 3"),
    ],
)
def test_numbers_of_rois(settings, samples, positives):
    stage = RoIStage.over(TinyBackbone(), 1, settings, head_width=4)
    on_object = torch.tensor([[0.0, 0, 90, 10]]).repeat(1000, 1)
    beside = torch.tensor([[0.0, 0, 40, 10]]).repeat(1000, 1)
    objects = Objects(torch.tensor([[0.0, 0, 100, 10]]), torch.tensor([0]))
    drawn = stage.draw_samples(torch.cat([on_object, beside]), objects, torch.tensor(7))
    assert len(drawn.labels) == samples
    assert (drawn.labels > 0).sum() == positives


def test_half_of_256_anchors_at_most_are_objects():
    assert PAPER_LEARNING.num_samples == 256
    assert PAPER_LEARNING.positive_fraction == 0.5
