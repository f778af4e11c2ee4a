"""Masks against the boxes of their objects."""

import pytest

from lit_detseg.data.verification.masks import mask_problem
from tests.data.verification.crafted import HEIGHT, WIDTH, rle


def rectangle(x1, y1, x2, y2):
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def kind(mask, box):
    found = mask_problem(mask, box, HEIGHT, WIDTH)
    return None if found is None else str(found.kind)


@pytest.mark.parametrize(
    ("moved", "expected"),
    [
        pytest.param(2.0, None, id="2 pixels"),
        pytest.param(2.1, "loose_box", id="more"),
        pytest.param(-2.1, "loose_box", id="to the other side"),
    ],
)
def test_a_side_may_be_two_pixels_off(moved, expected):
    assert kind(rectangle(10.0, 10.0, 30.0 + moved, 30.0), (10.0, 10.0, 30.0, 30.0)) == expected


def test_a_side_of_a_large_box_may_be_a_twentieth_off():
    big = (0.0, 0.0, 200.0, 100.0)
    assert mask_problem(rectangle(0.0, 0.0, 190.0, 100.0), big, 300, 300) is None
    found = mask_problem(rectangle(0.0, 0.0, 189.0, 100.0), big, 300, 300)
    assert found.kind == "loose_box"
    assert "11.0 pixels apart" in found.detail


def test_a_mask_that_shares_less_than_half_with_its_box_is_another_objects():
    # 20 x 20 boxes, moved by 6: common 14 x 20, all 26 x 20, 0.54; by 7: 13 / 27 = 0.48.
    assert kind(rectangle(16.0, 0.0, 36.0, 20.0), (10.0, 0.0, 30.0, 20.0)) == "loose_box"
    assert kind(rectangle(17.0, 0.0, 37.0, 20.0), (10.0, 0.0, 30.0, 20.0)) == "mask_apart_from_box"


def test_several_polygons_are_one_mask():
    two = rectangle(0.0, 0.0, 5.0, 5.0) + rectangle(20.0, 20.0, 30.0, 30.0)
    assert kind(two, (0.0, 0.0, 30.0, 30.0)) is None
    assert kind(two, (20.0, 20.0, 30.0, 30.0)) == "mask_apart_from_box"


def test_one_flat_polygon_among_others_is_no_fault():
    line = [[0.0, 0.0, 30.0, 30.0, 15.0, 15.0]]
    assert kind(line, (0.0, 0.0, 30.0, 30.0)) == "flat_polygon"
    assert kind(line + rectangle(0.0, 0.0, 9.0, 9.0), (0.0, 0.0, 30.0, 30.0)) is None


def test_what_lies_outside_the_image_does_not_count():
    mask = rectangle(-20.0, 0.0, WIDTH + 20.0, HEIGHT + 0.0)
    assert kind(mask, (0.0, 0.0, WIDTH, HEIGHT)) is None


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        pytest.param((10, 30), None, id="tight"),
        pytest.param((10, 32), None, id="2 pixels"),
        pytest.param((10, 33), "loose_box", id="3 pixels"),
        pytest.param((40, 60), "mask_apart_from_box", id="elsewhere"),
        pytest.param((0, 0), "empty_mask", id="nowhere"),
    ],
)
def test_run_lengths_are_compared_by_their_pixels(columns, expected):
    assert kind(rle(*columns), (10.0, 0.0, 30.0, float(HEIGHT))) == expected
