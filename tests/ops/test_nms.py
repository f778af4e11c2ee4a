"""Clipping, slivers and non-maximum suppression, on boxes worked by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_iou

from lit_detseg.ops.nms import class_nms, clip_boxes, large_enough


def test_boxes_are_cut_at_the_image_border():
    boxes = torch.tensor([[-5.0, -1.0, 300.0, 50.0], [10.0, 20.0, 30.0, 400.0]])
    clipped = clip_boxes(boxes, torch.tensor([100, 200]))  # height, width
    assert clipped.tolist() == [[0.0, 0.0, 200.0, 50.0], [10.0, 20.0, 30.0, 100.0]]


def test_both_sides_have_to_be_large_enough():
    boxes = torch.tensor([[0.0, 0, 16, 16], [0, 0, 15.5, 40], [0, 0, 40, 15.5]])
    assert large_enough(boxes, 16.0).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [
        pytest.param(0.5, [1, 0], id="IoU of exactly the threshold: both stay"),
        pytest.param(0.49, [1], id="above the threshold: the better one stays"),
    ],
)
def test_a_box_goes_only_above_the_threshold(threshold, kept):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # IoU = 50 / 100
    scores, groups = torch.tensor([0.6, 0.9]), torch.zeros(2, dtype=torch.int64)
    assert class_nms(boxes, scores, groups, threshold).tolist() == kept


def test_classes_do_not_suppress_each_other():
    boxes = torch.tensor([[0.0, 0, 10, 10]] * 3)
    kept = class_nms(boxes, torch.tensor([0.2, 0.9, 0.5]), torch.tensor([0, 1, 0]), 0.5)
    assert kept.tolist() == [1, 2]


def test_no_boxes_are_no_error():
    empty = torch.zeros(0, dtype=torch.int64)
    assert class_nms(torch.zeros(0, 4), torch.zeros(0), empty, 0.5).tolist() == []


@given(st.integers(0, 2**31), st.floats(0.1, 0.9))
def test_what_stays_hardly_overlaps_and_explains_what_goes(seed, threshold):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(12, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 1 + torch.rand(12, 2, generator=generator) * 20], dim=1)
    scores = torch.rand(12, generator=generator)
    kept = class_nms(boxes, scores, torch.zeros(12, dtype=torch.int64), threshold)

    iou = box_iou(boxes, boxes)
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    assert (iou[kept][:, kept] - torch.eye(len(kept)) <= threshold).all()
    for box in set(range(12)) - set(kept.tolist()):
        assert any(iou[box, other] > threshold and scores[other] >= scores[box] for other in kept)
