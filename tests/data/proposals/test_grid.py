"""The baseline that looks at nothing."""

import math

import numpy as np
import pytest

from lit_detseg.data.proposals.grid import Grid
from lit_detseg.errors import UserError


def image(height, width):
    return np.zeros((height, width, 3), np.uint8)


def test_the_first_level_by_hand():
    """A square of 16: flat boxes are as wide as it, 11.3 high, and stand above and below."""
    short = 16 * math.sqrt(0.5)
    expected = [
        [0, 0, 16, short],
        [0, 16 - short, 16, 16],
        [0, 0, 16, 16],
        [0, 0, short, 16],
        [16 - short, 0, 16, 16],
    ]
    np.testing.assert_allclose(Grid(levels=1)(image(16, 16)), expected, rtol=1e-6)


def test_each_level_halves_the_sides_and_covers_the_image():
    boxes = Grid(levels=3)(image(64, 64))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for level in (1, 2):
        side = 64 / 2**level
        of_level = boxes[np.isclose(areas, side**2)]
        assert len(of_level) > 0
        assert of_level.min() == 0
        assert of_level.max() == pytest.approx(64)
        squares = of_level[np.isclose(of_level[:, 2] - of_level[:, 0], side)]
        assert len(squares) == (2 ** (level + 1) - 1) ** 2  # steps of half a side
    assert (np.diff(np.round(areas)) <= 0).sum() > 0.9 * len(areas)  # the largest ones first


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 200), (480, 640)])
def test_boxes_lie_inside_any_image(height, width):
    boxes = Grid()(image(height, width))
    assert (boxes >= 0).all()
    assert (boxes <= [width, height, width, height]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)


def test_no_levels_are_refused():
    with pytest.raises(UserError, match="levels = 0 must be at least 1"):
        Grid(levels=0)
