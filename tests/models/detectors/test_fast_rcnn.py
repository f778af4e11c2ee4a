"""Fast R-CNN as a whole: the proposals come from outside, and one network learns to judge them."""

import pytest
import torch
from torchvision.ops import box_iou

from lit_detseg.models.roi_stage import FAST_RCNN_DETECTIONS, FAST_RCNN_ROIS, RoISettings
from lit_detseg.structures import Images, UserError
from tests.tiny_detection import make_images, make_target, tiny_fast_rcnn

PROPOSALS = [torch.tensor([[2.0, 2, 32, 30], [44, 8, 90, 48], [0, 0, 96, 64]])]


def test_the_paper_draws_64_rois_of_an_image_a_quarter_on_objects():
    assert FAST_RCNN_ROIS.num_samples == 64
    assert FAST_RCNN_ROIS.positive_fraction == 0.25
    assert FAST_RCNN_ROIS.background_iou == (0.1, 0.5)
    assert FAST_RCNN_ROIS.pooling == "roi_pool"
    assert FAST_RCNN_DETECTIONS.max_per_class == 100


def test_images_without_proposals_are_explained():
    with pytest.raises(UserError, match=r"lit-detseg propose SHARDS.*--data.proposals="):
        tiny_fast_rcnn()(make_images([(64, 96)]))


def test_detections_are_refined_proposals_and_nothing_else():
    """With offsets that the first weights leave at almost 0."""
    model = tiny_fast_rcnn(detections=FAST_RCNN_DETECTIONS)
    with torch.no_grad():
        model.roi_stage.head.offsets.weight.zero_()
    (found,) = model(make_images([(64, 96)])._replace(proposals=PROPOSALS))
    assert {tuple(box) for box in found.boxes.tolist()} <= {tuple(b) for b in PROPOSALS[0].tolist()}
    assert len(found.boxes) == 3 * 3  # every class of every proposal: there is no least score


def test_it_learns_to_judge_proposals():
    """A white square on black: the proposal nearest to it wins, and is moved onto it."""
    model = tiny_fast_rcnn(rois=RoISettings(pooling="roi_align", background_iou=(0.0, 0.5)))
    pixels = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    pixels[:, :, 20:44, 32:56] = 255
    boxes = torch.tensor([[28.0, 18, 54, 42], [0, 0, 24, 24], [60, 30, 90, 60], [0, 0, 96, 64]])
    images = Images(pixels, torch.tensor([[64, 96]]), proposals=[boxes])
    targets = [make_target([[32, 20, 56, 44]], [1])]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.stack(list(model(images, targets).values())).sum().backward()
        optimizer.step()

    (found,) = model(images)

    assert found.labels[0] == 1
    assert found.scores[0] > 0.8
    assert box_iou(found.boxes[:1], targets[0].boxes) > 0.9 > box_iou(boxes[:1], targets[0].boxes)
