"""Who answers for whom: every rule on boxes whose IoU is worked by hand."""

import pytest
import torch

from lit_detseg.assignment.matching import (
    BACKGROUND,
    FOREGROUND,
    IGNORE,
    centered_in_image,
    inside_image,
    match_boxes,
    objects_to_learn,
)
from lit_detseg.structures import BoxTarget


def columns(*heights: float) -> torch.Tensor:
    """Boxes 1 wide from the origin down: the IoU with one of height 10 is height / 10."""
    return torch.tensor([[0.0, 0.0, 1.0, height] for height in heights])


ANCHOR_RULES = {"foreground_iou": 0.7, "background_iou": (0.0, 0.3)}


def test_thresholds_of_the_region_proposal_network():
    boxes = columns(7.5, 7.0, 6.9, 3.0, 2.9)
    labels = match_boxes(boxes, columns(10), **ANCHOR_RULES).labels
    # at least 0.7 is foreground; from 0.3 to below 0.7 neither; below 0.3 background
    assert labels.tolist() == [FOREGROUND, FOREGROUND, IGNORE, IGNORE, BACKGROUND]


@pytest.mark.parametrize(
    ("low", "expected"),
    [
        pytest.param(0.0, [1, 0, 0, 0], id="[0, 0.5): everything below"),
        pytest.param(0.125, [1, 0, 0, -1], id="[0.125, 0.5): the lower end belongs to it"),
    ],
)
def test_thresholds_of_fast_rcnn(low, expected):
    boxes = columns(4.0, 3.9, 1.0, 0.9)  # of 8: IoU 0.5, 0.4875, 0.125, 0.1125
    matches = match_boxes(boxes, columns(8), 0.5, (low, 0.5))
    assert matches.labels.tolist() == expected


def test_all_best_boxes_of_an_object_are_foreground():
    boxes = torch.tensor([[0.0, 0, 10, 4], [0, 6, 10, 10], [0, 0, 10, 1]])  # IoU 0.4, 0.4, 0.1
    matches = match_boxes(boxes, torch.tensor([[0.0, 0, 10, 10]]), **ANCHOR_RULES, keep_best=True)
    assert matches.labels.tolist() == [FOREGROUND, FOREGROUND, BACKGROUND]


def test_the_best_box_wins_over_background():
    matches = match_boxes(columns(2.0, 1.0), columns(10), **ANCHOR_RULES, keep_best=True)
    assert matches.labels.tolist() == [FOREGROUND, BACKGROUND]


def test_a_best_box_answers_for_the_object_it_overlaps_most():
    """Object 1's only box overlaps object 0 more: it is foreground, and answers for object 0."""
    objects = torch.tensor([[0.0, 0, 10, 10], [0, 8, 10, 20]])
    box = torch.tensor([[0.0, 0, 10, 12]])
    matches = match_boxes(box, objects, **ANCHOR_RULES, keep_best=True)
    assert (matches.labels.tolist(), matches.objects.tolist()) == ([FOREGROUND], [0])


def test_an_object_that_nothing_touches_has_no_best_box():
    far = torch.tensor([[90.0, 90, 95, 95]])
    labels = match_boxes(columns(1, 2), far, **ANCHOR_RULES, keep_best=True).labels
    assert labels.tolist() == [BACKGROUND, BACKGROUND]


def test_an_empty_object_spoils_nothing():
    """0 / 0 is no number; it must not become a match, nor hide one."""
    objects = torch.tensor([[5.0, 5, 5, 5], [0, 0, 1, 10]])
    boxes = torch.tensor([[5.0, 5, 5, 5], [0, 0, 1, 10]])
    matches = match_boxes(boxes, objects, 0.5, (0.0, 0.5))
    assert matches.labels.tolist() == [BACKGROUND, FOREGROUND]
    assert matches.objects[1] == 1


def test_without_objects_everything_is_background():
    matches = match_boxes(columns(1, 2), torch.zeros(0, 4), **ANCHOR_RULES, keep_best=True)
    assert matches.labels.tolist() == [BACKGROUND, BACKGROUND]
    assert match_boxes(torch.zeros(0, 4), columns(1), 0.5, (0.0, 0.5), True).labels.tolist() == []


def test_an_ineligible_box_is_ignored_and_nobodys_best():
    eligible = torch.tensor([False, True, True])
    labels = match_boxes(
        columns(10, 2, 1), columns(10), **ANCHOR_RULES, keep_best=True, eligible=eligible
    ).labels
    assert labels.tolist() == [IGNORE, FOREGROUND, BACKGROUND]


def test_an_anchor_may_touch_the_border_but_not_cross_it():
    """py-faster-rcnn asks for x2 < width in inclusive pixels: x2 <= width here."""
    boxes = torch.tensor(
        [[0.0, 0, 60, 40], [-1, 0, 10, 10], [0, -1, 10, 10], [50, 0, 61, 10], [0, 30, 10, 41]]
    )
    image_size = torch.tensor([40, 60])  # the image's own; its batch may be larger
    assert inside_image(boxes, image_size).tolist() == [True, False, False, False, False]
    assert inside_image(boxes, image_size, margin=1.0).all()


def test_an_anchor_on_the_padding_is_not_centered_in_the_image():
    boxes = torch.tensor([[0.0, 0, 10, 10], [55, 0, 64, 10], [56, 0, 64, 10], [0, 36, 10, 46]])
    centered = centered_in_image(boxes, torch.tensor([40, 60]))  # middles: 5, 59.5, 60 | y = 41
    assert centered.tolist() == [True, True, False, False]


def test_crowds_and_difficult_objects_are_not_learned():
    boxes = columns(1, 2, 3)
    target = BoxTarget(
        boxes=boxes,
        labels=torch.tensor([4, 5, 6]),
        image_id="a",
        original_size=(10, 10),
        is_crowd=torch.tensor([True, False, False]),
        is_difficult=torch.tensor([False, False, True]),
        original_boxes=boxes.double(),
        areas=torch.ones(3, dtype=torch.float64),
    )
    objects = objects_to_learn(target)
    assert objects.labels.tolist() == [5]
    assert torch.equal(objects.boxes, boxes[1:2])
