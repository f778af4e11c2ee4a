"""Random crops: sizes, places, and objects that are to stay."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lit_detseg.data.transforms import RandomCrop, apply
from lit_detseg.structures import UserError
from tests.data.transforms.drawn import Shape, check_content, draw, samples

SMALL = [Shape("rectangle", (30, 3, 38, 11))]


def numbered(height, width):
    """An image whose pixels tell their place: row and column."""
    sample = draw(height, width, [])
    sample.image[..., 0] = np.arange(height)[:, None]
    sample.image[..., 1] = np.arange(width)
    return sample


def test_a_crop_of_fixed_size_lies_anywhere():
    sample = numbered(30, 40)
    corners = set()
    for seed in range(200):
        image = apply([RandomCrop(size=(28, 39))], sample, seed).image
        row, column = image[0, 0, :2].tolist()
        np.testing.assert_array_equal(image, sample.image[row : row + 28, column : column + 39])
        corners.add((row, column))
    assert corners == {(row, column) for row in range(3) for column in range(2)}


def test_an_image_smaller_than_the_crop_stays_whole():
    sample = draw(20, 44, SMALL)
    result = apply([RandomCrop(size=(100, 30), keep_object=True)], sample, seed=0)
    assert result.image.shape == (20, 30, 3)
    assert len(result.boxes) == 1


def test_relative_sizes_are_drawn_for_each_side():
    shapes = [
        apply([RandomCrop(fractions=(0.5, 0.8))], numbered(100, 200), seed).image.shape[:2]
        for seed in range(200)
    ]
    fractions = np.array(shapes) / [100, 200]
    assert fractions.min() >= 0.5
    assert fractions.max() <= 0.8
    assert abs(np.corrcoef(fractions.T)[0, 1]) < 5 / 200**0.5
    assert np.abs(fractions.mean(axis=0) - 0.65).max() < 5 * 0.3 / 12**0.5 / 200**0.5


def test_an_object_stays_where_asked():
    sample = draw(40, 48, SMALL)
    for seed in range(60):
        crop = RandomCrop(size=(12, 10), keep_object=True, least_visible_fraction=1.0)
        result = apply([crop], sample, seed)
        assert len(result.boxes) == 1
        assert (result.boxes[0, 2:] - result.boxes[0, :2]).tolist() == [8, 8]
    without = [apply([RandomCrop(size=(12, 10))], sample, seed) for seed in range(60)]
    assert any(len(result.boxes) == 0 for result in without)


def test_an_object_that_fits_is_preferred_to_one_that_does_not():
    sample = draw(40, 48, [Shape("rectangle", (0, 0, 24, 40)), *SMALL])
    crop = RandomCrop(size=(12, 10), keep_object=True, least_visible_fraction=1.0)
    for seed in range(20):
        assert [item.label for item in apply([crop], sample, seed).items] == [1]


def test_of_an_object_that_is_too_large_the_middle_stays():
    sample = draw(40, 48, [Shape("rectangle", (4, 2, 44, 38))])
    for seed in range(20):
        crop = RandomCrop(size=(10, 10), keep_object=True, least_visible_fraction=0.0)
        result = apply([crop], sample, seed)
        left, top = -result.placements[0, 2:]
        assert left <= 24 < left + 10
        assert top <= 20 < top + 10


@settings(max_examples=60)
@given(samples(("polygon", "rle", "box"), least_objects=1), st.integers(0, 2**32))
def test_one_object_stays_whatever_the_picture(sample, seed):
    sides = (sample.boxes[0, 2:] - sample.boxes[0, :2]).astype(int)[::-1]
    crop = RandomCrop(size=tuple(sides.tolist()), keep_object=True, least_visible_fraction=1.0)
    result = apply([crop], sample, seed)
    assert len(result.items) >= 1
    check_content(result, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({}, id="neither"),
        pytest.param({"size": (3, 3), "fractions": (0.5, 1)}, id="both"),
        pytest.param({"size": (0, 3)}, id="no height"),
        pytest.param({"fractions": (0.0, 0.5)}, id="nothing left"),
        pytest.param({"fractions": (0.5, 1.5)}, id="more than all"),
        pytest.param({"size": (3, 3), "least_visible_fraction": -1}, id="fraction"),
    ],
)
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(UserError):
        RandomCrop(**arguments)
