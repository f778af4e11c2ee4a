"""The region proposal network alone does what it does inside Faster R-CNN."""

import torch

from lit_detseg.models.detectors.region_proposals import RegionProposalDetector
from tests.tiny_detection import make_images, make_target, tiny_faster_rcnn

TARGETS = [make_target([[4, 4, 30, 30]], [2]), make_target([], [])]


def both():
    whole = tiny_faster_rcnn()
    return whole, RegionProposalDetector(whole.backbone, whole.rpn)


def test_its_losses_are_two_of_faster_rcnn_s():
    whole, alone = both()
    images = make_images([(64, 96), (50, 70)])
    expected = whole(images, TARGETS)
    assert {n: v.item() for n, v in alone(images, TARGETS).items()} == {
        name: expected[name].item() for name in ("rpn_objectness", "rpn_box")
    }


def test_it_answers_what_faster_rcnn_judges_with_the_probability_of_an_object():
    whole, alone = both()
    images = make_images([(64, 96), (50, 70)])
    predictions = whole.rpn(whole.backbone(images))
    proposals = whole.rpn.propose(predictions, images.sizes, training=False)
    for found, boxes, logits in zip(alone(images), proposals, predictions.objectness, strict=True):
        inside = (boxes[:, 2:] - boxes[:, :2] >= 0.01).all(dim=1)  # the rest is outside the image
        assert torch.equal(found.boxes, boxes[inside])
        assert not found.labels.any()
        assert found.scores[0] == logits.sigmoid().max()
