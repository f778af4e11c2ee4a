"""What is left of an object that a border cuts: by hand, and against counted pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.data.records import Object
from lit_detseg.data.transforms import Sample, cut_to_visible
from lit_detseg.data.transforms.base import move
from tests.data.transforms.drawn import FINE, Shape, draw, pixels_of, samples, tight


def cropped(sample, left, top, width, height, least=0.0):
    image = sample.image[top : top + height, left : left + width]
    return cut_to_visible(move(sample, image, offset=(-left, -top)), least)


def one(box, mask=None, height=20, width=20):
    item = Object(tuple(map(float, box)), 0, 1.0, mask)
    return Sample.from_objects(np.zeros((height, width, 3), np.uint8), [item])


def test_a_diagonal_pole_leaves_a_box_in_the_corner():
    """Of a pole from (0, 0) to (10, 10), the left 4 columns show the part above y = 5."""
    pole = one((0, 0, 10, 10), [[0.0, 0, 1, 0, 10, 9, 10, 10, 9, 10, 0, 1]])
    assert cropped(pole, 0, 0, 4, 20).boxes.tolist() == [[0, 0, 4, 5]]
    assert cropped(one((0, 0, 10, 10)), 0, 0, 4, 20).boxes.tolist() == [[0, 0, 4, 10]]


def test_what_lies_around_the_window_does_not_count():
    """An arch whose beam is cut off leaves its two legs, and its inside nothing at all."""
    arch = one((0, 0, 20, 20), [[0.0, 0, 20, 0, 20, 20, 16, 20, 16, 5, 4, 5, 4, 20, 0, 20]])
    assert cropped(arch, 2, 8, 16, 8).boxes.tolist() == [[0, 0, 16, 8]]
    assert cropped(arch, 2, 8, 10, 8).boxes.tolist() == [[0, 0, 2, 8]]
    assert len(cropped(arch, 5, 6, 10, 10).boxes) == 0


def test_a_window_inside_the_object_is_filled():
    everywhere = one((0, 0, 20, 20), [[0.0, 0, 20, 0, 20, 20, 0, 20]])
    assert cropped(everywhere, 5, 6, 7, 8).boxes.tolist() == [[0, 0, 7, 8]]


def test_objects_that_the_border_does_not_cut_are_not_touched():
    """A box with a margin around its mask keeps it."""
    loose = one((2, 2, 12, 12), [[4.0, 4, 8, 4, 8, 8, 4, 8]])
    assert cropped(loose, 1, 1, 15, 15).boxes.tolist() == [[1, 1, 11, 11]]
    assert cropped(loose, 3, 1, 15, 15).boxes.tolist() == [[1, 3, 5, 7]]


@pytest.mark.parametrize("how", ["polygon", "rle", "box"])
def test_objects_go_below_the_least_visible_fraction(how):
    """Three eighths of a rectangle of 8 x 10 lie right of x = 9."""
    sample = draw(24, 24, [Shape("rectangle", (4, 5, 12, 15), how)])
    assert len(cropped(sample, 9, 0, 15, 24, least=0.375).boxes) == 1
    assert len(cropped(sample, 9, 0, 15, 24, least=0.376).boxes) == 0
    assert len(cropped(sample, 12, 0, 12, 24).boxes) == 0  # at the border, nothing is seen


@pytest.mark.parametrize("how", ["polygon", "rle", "box"])
def test_the_whole_is_what_was_annotated_however_often_it_is_cut(how):
    """Half of a half is a quarter."""
    sample = draw(24, 24, [Shape("rectangle", (4, 4, 12, 12), how)])
    half = cropped(sample, 8, 0, 16, 24, least=0.5)
    assert len(cropped(half, 0, 8, 16, 16, least=0.25).boxes) == 1
    assert len(cropped(half, 0, 8, 16, 16, least=0.26).boxes) == 0


def test_an_annotation_that_overshoots_the_image_is_cut_at_it():
    sample = one((-0.6, 3, 20.4, 30), [[-0.6, 3, 20.4, 3, 20.4, 30, -0.6, 30]])
    assert cut_to_visible(sample).boxes.tolist() == [[0, 3, 20, 20]]


@given(
    samples(least_objects=1),
    st.integers(0, 20),
    st.integers(0, 20),
    st.integers(4, 28),
    st.integers(4, 28),
    st.booleans(),
)
def test_the_box_is_tight_around_the_visible_pixels(sample, left, top, width, height, mirror):
    if mirror:
        image = sample.image[:, ::-1]
        sample = move(sample, image, scale=(-1.0, 1.0), offset=(image.shape[1], 0.0))
    before = pixels_of(sample, FINE)
    result = cropped(sample, left, top, width, height)
    there = np.s_[:, FINE * top : FINE * (top + height), FINE * left : FINE * (left + width)]
    seen = dict(zip([item.label for item in sample.items], before[there], strict=True))
    assert {item.label for item in result.items} >= {n for n, one in seen.items() if one.any()}
    for item, box in zip(result.items, result.boxes, strict=True):
        if seen[item.label].any():
            assert np.abs(tight(seen[item.label]) / FINE - box).max() <= 2 / FINE
        else:  # a tip, between the centres of all cells
            assert max(box[2:] - box[:2]) <= 2 / FINE


@given(samples(least_objects=1), st.integers(0, 20), st.integers(4, 28), st.floats(0, 1))
def test_the_visible_fraction_is_that_of_the_pixels(sample, left, width, least):
    whole = pixels_of(sample, FINE)
    shown = whole[:, :, FINE * left : FINE * (left + width)].sum(axis=(1, 2)) / whole.sum(
        axis=(1, 2)
    )
    kept = {item.label for item in cropped(sample, left, 0, width, 50, least).items}
    for item, fraction in zip(sample.items, shown, strict=True):
        if abs(fraction - least) > 0.02 and fraction > 0:
            assert (item.label in kept) == (fraction > least)
