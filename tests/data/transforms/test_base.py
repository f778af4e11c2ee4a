"""Image and boxes stay together, whatever is done to them."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2

from lit_detseg.data.records import Object, Record
from lit_detseg.data.transforms import (
    RandomHorizontalFlip,
    Resize,
    ResizeShortestSide,
    Sample,
    TorchvisionTransform,
    apply,
    inside_canvas,
)
from lit_detseg.structures import UserError

WHITE = 255


def rectangle(height, width, box):
    """A white box on black."""
    image = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = WHITE
    return Sample(image, np.array([box], dtype=np.float64), np.array([0]))


@st.composite
def rectangles(draw):
    height, width = draw(st.integers(12, 60)), draw(st.integers(12, 60))
    x1, y1 = draw(st.integers(0, width - 6)), draw(st.integers(0, height - 6))
    x2, y2 = draw(st.integers(x1 + 6, width)), draw(st.integers(y1 + 6, height))
    return rectangle(height, width, (x1, y1, x2, y2))


def centre_and_mass(image):
    """Where the white is, and how much of it, in pixels."""
    weight = image[..., 0] / WHITE
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5  # centres of pixels
    return (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum(), weight.sum()


TRANSFORMS = [
    ResizeShortestSide([20, 30, 77], 100),
    Resize(33, 50),
    RandomHorizontalFlip(0.5),
    TorchvisionTransform(v2.RandomHorizontalFlip(0.5)),
]


@given(rectangles(), st.lists(st.sampled_from(TRANSFORMS), max_size=3), st.integers(0, 2**63 - 1))
def test_the_box_stays_where_the_white_is(sample, transforms, seed):
    result = apply(transforms, sample, seed)

    x, y, mass = centre_and_mass(result.image)
    (x1, y1, x2, y2) = result.boxes[0]
    # Resizing blurs the border by less than a pixel, or a source pixel's size where it enlarges.
    blur = 1 + max(np.array(result.image.shape[:2]) / sample.image.shape[:2]) / 2
    assert x == pytest.approx((x1 + x2) / 2, abs=blur)
    assert y == pytest.approx((y1 + y2) / 2, abs=blur)
    around = (x2 - x1 + 2 * blur) * (y2 - y1 + 2 * blur)
    assert (x2 - x1 - 2 * blur) * (y2 - y1 - 2 * blur) <= mass <= around


@given(rectangles(), st.integers(0, 2**63 - 1))
def test_the_seed_alone_decides(sample, seed):
    first, second = (apply(TRANSFORMS, sample, seed) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.boxes, second.boxes)


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
    sample = Sample(
        np.zeros((*size, 3), np.uint8), np.array([[10.0, 20, 100, 50]]), np.zeros(1, int)
    )
    result = apply([ResizeShortestSide(60, 200)], sample, seed=0)
    assert result.image.shape == (*resized, 3)
    np.testing.assert_allclose(result.boxes, [box], rtol=1e-5)


def test_one_of_several_sizes_is_drawn():
    sample = rectangle(50, 50, (0, 0, 9, 9))
    transform = ResizeShortestSide([20, 30, 40], 100)
    heights = [apply([transform], sample, seed).image.shape[0] for seed in range(60)]
    assert set(heights) == {20, 30, 40}


def test_strong_shrinking_averages_all_pixels():
    """A chessboard is grey from afar; linear interpolation would pick some of its squares."""
    board = (np.indices((120, 120)).sum(axis=0) % 2 * WHITE).astype(np.uint8)
    sample = Sample(cv2.merge([board] * 3), np.zeros((0, 4)), np.zeros(0, int))
    image = apply([Resize(30, 30)], sample, seed=0).image
    assert abs(image.astype(int) - WHITE / 2).max() <= 1


def test_flipping_twice_changes_nothing():
    sample = rectangle(20, 31, (3, 4, 11, 9))
    once = apply([RandomHorizontalFlip(1.0)], sample, seed=0)
    twice = apply([RandomHorizontalFlip(1.0)], once, seed=0)
    assert once.boxes.tolist() == [[31 - 11, 4, 31 - 3, 9]]
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_array_equal(twice.boxes, sample.boxes)


def test_a_flip_happens_as_often_as_asked():
    sample = rectangle(8, 8, (0, 0, 2, 2))
    flips = sum(
        apply([RandomHorizontalFlip(0.3)], sample, seed).boxes[0, 0] > 0 for seed in range(1000)
    )
    assert abs(flips - 300) < 5 * (1000 * 0.3 * 0.7) ** 0.5  # 5 standard deviations


def test_boxes_end_at_the_canvas_and_empty_ones_go():
    boxes = np.array([[-5.0, 2, 4, 30], [3, 3, 3, 9], [25, 0, 30, 5], [1, 1, 2, 2]])
    sample = Sample(np.zeros((10, 20, 3), np.uint8), boxes, np.array([7, 8, 9, 10]))
    result = inside_canvas(sample)
    assert result.boxes.tolist() == [[0, 2, 4, 10], [1, 1, 2, 2]]
    assert result.objects.tolist() == [7, 10]


def test_a_sample_may_hold_some_of_the_objects():
    objects = tuple(Object((n, 0.0, n + 1, 1.0), label=0, area=1.0) for n in range(3))
    record = Record("a", 8, 8, objects)
    image = np.zeros((8, 8, 3), np.uint8)
    assert Sample.from_record(image, record, [2, 0]).boxes.tolist() == [[2, 0, 3, 1], [0, 0, 1, 1]]
    assert Sample.from_record(image, record, []).boxes.shape == (0, 4)


def test_torchvision_transforms_leave_the_global_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    apply([TorchvisionTransform(v2.ColorJitter(0.5))], rectangle(8, 8, (0, 0, 4, 4)), seed=1)
    assert torch.rand(1) == expected


def test_torchvision_transforms_may_remove_boxes():
    sample = rectangle(16, 16, (0, 0, 4, 4))
    sample = sample._replace(boxes=np.array([[0.0, 0, 4, 4], [5, 5, 5, 9]]), objects=np.arange(2))
    result = apply([TorchvisionTransform(v2.SanitizeBoundingBoxes())], sample, seed=0)
    assert result.objects.tolist() == [0]
    assert result.boxes.tolist() == [[0, 0, 4, 4]]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: ResizeShortestSide(800, 600), id="min above max"),
        pytest.param(lambda: ResizeShortestSide([], 600), id="no size"),
        pytest.param(lambda: Resize(0, 5), id="no pixel"),
        pytest.param(lambda: RandomHorizontalFlip(1.5), id="no probability"),
    ],
)
def test_impossible_arguments_are_refused(make):
    with pytest.raises(UserError):
        make()


def test_float_pixels_are_refused():
    transform = TorchvisionTransform(v2.ToDtype(torch.float32, scale=True))
    with pytest.raises(UserError, match="images stay uint8"):
        apply([transform], rectangle(8, 8, (0, 0, 4, 4)), seed=0)
