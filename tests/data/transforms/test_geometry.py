"""Resizes and flips: sizes and coordinates worked out by hand."""

import numpy as np
import pytest

from lit_detseg.data.records import Object
from lit_detseg.data.transforms import (
    MultiScale,
    RandomHorizontalFlip,
    RandomResize,
    RandomVerticalFlip,
    Resize,
    ResizeLongestSide,
    ResizeShortestSide,
    Sample,
    apply,
)
from lit_detseg.structures import UserError
from tests.data.transforms.drawn import Shape, draw, pixels_of

WHITE = 255


def blank(height, width, box=(10.0, 20, 100, 50)):
    return Sample.from_objects(np.zeros((height, width, 3), np.uint8), [Object(box, 0, 1.0)])


@pytest.mark.parametrize(
    ("size", "resized", "box"),
    [
        pytest.param((100, 200), (60, 120), [6, 12, 60, 30], id="shorter side to 60"),
        pytest.param((100, 400), (50, 200), [5, 10, 50, 25], id="longer side would exceed 200"),
        pytest.param((30, 60), (60, 120), [20, 40, 200, 100], id="enlarged"),
        pytest.param((100, 151), (60, 91), [6.02649, 12, 60.2649, 30], id="90.6 rounds to 91"),
    ],
)
def test_resize_shortest_side(size, resized, box):
    result = apply([ResizeShortestSide(60, 200)], blank(*size), seed=0)
    assert result.image.shape == (*resized, 3)
    np.testing.assert_allclose(result.boxes, [box], rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "resized"), [((100, 200), (25, 50)), ((300, 200), (50, 33)), ((10, 20), (25, 50))]
)
def test_resize_longest_side(size, resized):
    assert apply([ResizeLongestSide(50)], blank(*size), seed=0).image.shape == (*resized, 3)


def test_one_of_several_sizes_is_drawn():
    shortest = ResizeShortestSide([20, 30, 40], 100)
    heights = [apply([shortest], blank(50, 50), seed).image.shape[0] for seed in range(60)]
    assert set(heights) == {20, 30, 40}
    either = RandomResize(sizes=[(20, 30), (40, 10)])
    sizes = [apply([either], blank(50, 50), seed).image.shape[:2] for seed in range(60)]
    assert set(sizes) == {(20, 30), (40, 10)}


def test_a_random_factor_keeps_the_aspect_ratio():
    resize = RandomResize(scales=(0.5, 1.5))
    sizes = np.array([apply([resize], blank(100, 200), seed).image.shape for seed in range(200)])
    assert np.abs(sizes[:, 1] - 2 * sizes[:, 0]).max() <= 1
    assert 50 <= sizes[:, 0].min() < 56
    assert 144 < sizes[:, 0].max() <= 150
    assert abs(sizes[:, 0].mean() - 100) < 5 * 100 / 12**0.5 / 200**0.5  # standard errors


def test_strong_shrinking_averages_all_pixels():
    """A chessboard is grey from afar; linear interpolation would pick some of its squares."""
    board = (np.indices((120, 120)).sum(axis=0) % 2 * WHITE).astype(np.uint8)
    sample = Sample.from_objects(np.stack([board] * 3, axis=-1), [])
    image = apply([Resize(30, 30)], sample, seed=0).image
    assert abs(image.astype(int) - WHITE / 2).max() <= 1


@pytest.mark.parametrize(
    ("flip", "box"),
    [(RandomHorizontalFlip, [20, 4, 28, 9]), (RandomVerticalFlip, [3, 11, 11, 16])],
)
def test_flipping_twice_changes_nothing(flip, box):
    sample = draw(20, 31, [Shape("corner", (3, 4, 11, 9))])
    once = apply([flip(1.0)], sample, seed=0)
    twice = apply([flip(1.0)], once, seed=0)
    assert once.boxes.tolist() == [box]
    axis = 1 if flip is RandomHorizontalFlip else 0
    np.testing.assert_array_equal(pixels_of(once)[0], np.flip(pixels_of(sample)[0], axis))
    np.testing.assert_array_equal(twice.image, sample.image)
    for before, after in zip(sample[3:], twice[3:], strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("flip", [RandomHorizontalFlip, RandomVerticalFlip])
def test_a_flip_happens_as_often_as_asked(flip):
    sample = blank(8, 8, (0.0, 0, 2, 2))
    flips = sum(apply([flip(0.3)], sample, seed).boxes[0, :2].any() for seed in range(1000))
    assert abs(flips - 300) < 5 * (1000 * 0.3 * 0.7) ** 0.5  # 5 standard deviations


def side(transform, step, seed):
    resize = transform.at_step(step, seed)
    image = apply([resize], blank(20, 30), seed=0).image
    assert image.shape[0] == image.shape[1]
    return image.shape[0]


def test_the_size_of_yolo_v2_changes_every_ten_steps():
    sides = [side(MultiScale(), step, seed=7) for step in range(0, 300, 10)]
    assert all(side(MultiScale(), 10 * n + 9, seed=7) == sides[n] for n in range(30))
    assert set(sides) <= set(range(320, 609, 32))
    assert sides == [side(MultiScale(), step, seed=7) for step in range(0, 300, 10)]
    assert sides != [side(MultiScale(), step, seed=8) for step in range(0, 300, 10)]


def test_all_sizes_come_equally_often():
    drawn = [MultiScale(every=1).at_step(step, seed=0).height for step in range(2000)]
    counts = np.array([drawn.count(size) for size in range(320, 609, 32)])
    assert counts.sum() == 2000
    assert np.abs(counts - 200).max() < 5 * (200 * 0.9) ** 0.5


def test_a_size_that_depends_on_the_step_needs_the_step():
    with pytest.raises(TypeError, match="at_step"):
        apply([MultiScale()], blank(9, 9), seed=0)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: ResizeShortestSide(800, 600), id="min above max"),
        pytest.param(lambda: ResizeShortestSide([], 600), id="no size"),
        pytest.param(lambda: ResizeLongestSide(0), id="no longer side"),
        pytest.param(lambda: Resize(0, 5), id="no pixel"),
        pytest.param(lambda: RandomResize(), id="neither"),
        pytest.param(lambda: RandomResize([(3, 4)], (1, 2)), id="both"),
        pytest.param(lambda: RandomResize(sizes=[(3, 0)]), id="no width"),
        pytest.param(lambda: RandomResize(sizes=[]), id="no sizes"),
        pytest.param(lambda: RandomResize(scales=(2, 1)), id="from above to below"),
        pytest.param(lambda: RandomResize(scales=(0, 1)), id="factor 0"),
        pytest.param(lambda: MultiScale([]), id="no multi-scale size"),
        pytest.param(lambda: MultiScale(every=0), id="every 0"),
        pytest.param(lambda: RandomHorizontalFlip(1.5), id="no probability"),
        pytest.param(lambda: RandomVerticalFlip(-0.1), id="below 0"),
    ],
)
def test_impossible_arguments_are_refused(make):
    with pytest.raises(UserError):
        make()
