"""Selective search: the same boxes each time, in pixels of the original, around what is drawn."""

import ctypes
import subprocess
import sys

import cv2
import numpy as np
import pytest

from lit_detseg.data.proposals.selective_search import SelectiveSearch
from lit_detseg.errors import UserError
from tests.conftest import REPOSITORY
from tests.data.proposals.pictures import iou, rectangle

QUICK = SelectiveSearch(width=100)


@pytest.mark.parametrize(("height", "width"), [(60, 100), (30, 50), (240, 400)])
def test_a_picture_of_one_colour_is_one_box(height, width):
    assert QUICK(np.full((height, width, 3), 90, np.uint8)).tolist() == [[0, 0, width, height]]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_a_drawn_rectangle_is_found_at_any_size_of_the_image(scale):
    box = scale * np.array([30, 20, 70, 50])
    found = QUICK(rectangle(80 * scale, 100 * scale, box))
    assert iou(found, box).max() > 0.9


def test_sides_are_measured_in_the_scaled_image():
    noise = np.random.default_rng(0).integers(256, size=(150, 200, 3), dtype=np.uint8)
    boxes = QUICK(noise)  # at half its size: 20 pixels there are 40 here
    assert len(boxes) > 5
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 40
    smaller = SelectiveSearch(width=100, min_side=10)(noise)
    assert len(smaller) > len(boxes)
    assert (smaller[:, 2:] - smaller[:, :2]).min() >= 20


def test_boxes_lie_inside_the_image_and_none_stands_twice():
    noise = np.random.default_rng(1).integers(256, size=(33, 47, 3), dtype=np.uint8)
    boxes = QUICK(noise)
    assert boxes.dtype == np.float32
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert (boxes >= 0).all()
    assert (boxes <= [47, 33, 47, 33]).all()


def test_the_boxes_are_a_function_of_the_image():
    """OpenCV ranks them by the C library's random numbers, which the search seeds itself."""
    noise = np.random.default_rng(2).integers(256, size=(60, 80, 3), dtype=np.uint8)
    first = QUICK(noise)
    ctypes.CDLL(None).srand(77)
    cv2.setRNGSeed(77)
    QUICK(rectangle(60, 80, [10, 10, 50, 40]))
    np.testing.assert_array_equal(QUICK(noise), first)


def test_another_process_finds_the_same_boxes():
    script = (
        "import numpy as np\n"
        "from lit_detseg.data.proposals.selective_search import SelectiveSearch\n"
        "noise = np.random.default_rng(2).integers(256, size=(60, 80, 3), dtype=np.uint8)\n"
        "print(SelectiveSearch(width=100)(noise).tobytes().hex())"
    )
    noise = np.random.default_rng(2).integers(256, size=(60, 80, 3), dtype=np.uint8)
    command = [sys.executable, "-c", script]
    result = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=100
    )
    assert result.stdout.strip() == QUICK(noise).tobytes().hex()


def test_quality_proposes_more_than_fast():
    noise = np.random.default_rng(3).integers(256, size=(60, 80, 3), dtype=np.uint8)
    thorough = SelectiveSearch(mode="quality", width=100)
    assert len(thorough(noise)) > 2 * len(QUICK(noise))


def test_a_strip_is_not_blown_up():
    """At a width of 100 it would be 2,500 pixels high; it is made 200 high and 8 wide."""
    strip = np.full((500, 20, 3), 90, np.uint8)
    assert SelectiveSearch(width=100, min_side=8)(strip).tolist() == [[0, 0, 20, 500]]
    assert SelectiveSearch(width=100, min_side=9)(strip).shape == (0, 4)


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (3, 2)])
def test_tiny_images_are_no_trouble(shape):
    boxes = QUICK(np.zeros((*shape, 3), np.uint8))
    assert boxes.shape[1] == 4


@pytest.mark.parametrize("wrong", [{"mode": "slow"}, {"width": 0}, {"min_side": 0}])
def test_impossible_options_are_refused(wrong):
    with pytest.raises(UserError, match="use one of fast, quality, and at least 1 pixel"):
        SelectiveSearch(**wrong)
