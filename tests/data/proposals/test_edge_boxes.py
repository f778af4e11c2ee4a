"""Edge Boxes on drawn pictures, and the edges they are made of."""

import math

import numpy as np
import pytest

from lit_detseg.data.proposals.edge_boxes import EdgeBoxes, edges
from lit_detseg.errors import UserError
from tests.data.proposals.pictures import iou, rectangle


@pytest.mark.parametrize("box", [[40, 30, 100, 90], [20, 50, 130, 90]])
def test_the_best_box_is_around_what_is_drawn(box):
    boxes = EdgeBoxes(sigma=1.0)(rectangle(120, 160, box))
    assert iou(boxes[:1], box)[0] > 0.75  # with some room: edges on its border count against a box


def test_a_picture_without_edges_has_no_boxes():
    assert EdgeBoxes()(np.full((60, 80, 3), 9, np.uint8)).shape == (0, 4)


def test_the_boxes_are_a_function_of_the_image_and_lie_inside_it():
    noise = np.random.default_rng(0).integers(256, size=(70, 90, 3), dtype=np.uint8)
    boxes = EdgeBoxes(max_boxes=40)(noise)
    np.testing.assert_array_equal(EdgeBoxes(max_boxes=40)(noise), boxes)
    assert 0 < len(boxes) <= 40
    assert (boxes >= 0).all()
    assert (boxes <= [90, 70, 90, 70]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_small_boxes_are_looked_at_when_asked_for():
    box = [40, 30, 52, 42]
    picture = rectangle(80, 100, box)
    assert iou(EdgeBoxes(sigma=1.0)(picture), box).max() < 0.3  # 1000 pixels at least
    assert iou(EdgeBoxes(sigma=1.0, min_area=60)(picture), box).max() > 0.7


def test_a_large_image_is_scaled_down_and_its_boxes_are_scaled_back():
    box = [400, 300, 1300, 900]
    boxes = EdgeBoxes(sigma=1.0, max_boxes=50)(rectangle(1200, 2000, box))
    assert iou(boxes[:1], box)[0] > 0.75


@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (5, 5)])
def test_tiny_images_are_no_trouble(shape):
    assert EdgeBoxes()(np.zeros((*shape, 3), np.uint8)).shape == (0, 4)


@pytest.mark.parametrize(
    ("image", "across"),
    [
        pytest.param(np.tile(np.repeat([0, 200], 20), (40, 1)), 0.0, id="brighter to the right"),
        pytest.param(np.tile(np.repeat([200, 0], 20), (40, 1)), 0.0, id="brighter to the left"),
        pytest.param(np.tile(np.repeat([0, 200], 20), (40, 1)).T, math.pi / 2, id="brighter below"),
    ],
)
def test_a_step_is_an_edge_between_its_sides(image, across):
    """The gradient is the same in the two lines at the step, smaller in the others."""
    strength, direction = edges(np.dstack([image] * 3).astype(np.uint8), sigma=1.0)
    lines = strength if across == 0 else strength.T
    assert (lines[:, 19:21].max(axis=1) == 1).all()
    assert lines[:, :18].max() == lines[:, 22:].max() == 0
    where = strength > 0
    angle = direction[where]
    assert np.minimum(abs(angle - across), math.pi - abs(angle - across)).max() < 1e-5


def test_edges_of_any_colour_count():
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:, 2] = 200  # in blue alone
    assert edges(image, sigma=1.0)[0].max() == 1


@pytest.mark.parametrize("wrong", [{"max_boxes": 0}, {"min_area": 0}, {"sigma": 0}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(UserError, match="all must be above 0"):
        EdgeBoxes(**wrong)
