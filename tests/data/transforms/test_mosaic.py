"""Four images around a point: who lies where, and what of each is seen."""

import numpy as np
import pytest

from lit_detseg.data.records import Object
from lit_detseg.data.transforms import Mosaic, Sample, apply
from lit_detseg.structures import UserError

GREY = 114


def tile(level, height=20, width=20):
    """A plain image, wholly covered by one object whose label is its level."""
    box = (0.0, 0.0, float(width), float(height))
    square = [[0.0, 0, width, 0, width, height, 0, height]]
    image = np.full((height, width, 3), level, np.uint8)
    return Sample.from_objects(image, [Object(box, level, 1.0, square)])


def mixed(mosaic, seed, tiles=None, read=None):
    tiles = [tile(10 * n) for n in range(1, 5)] if tiles is None else tiles

    def companion(number):
        def read_one(transforms, seed):
            if read is not None:
                read.append(number)
            return tiles[number]

        return read_one

    return apply([mosaic], tiles[0], seed, [companion(n) for n in (1, 2, 3)])


def test_four_squares_at_scale_one_meet_in_a_point_and_leave_no_gap():
    mosaic = Mosaic(20, 20, 1.0, 1.0, least_visible_fraction=0)
    points = []
    for seed in range(100):
        result = mixed(mosaic, seed)
        image = result.image[..., 0]
        x, y = (image[0] == image[0, 0]).sum(), (image[:, 0] == image[0, 0]).sum()
        expected = np.empty((20, 20), np.uint8)
        expected[:y, :x], expected[:y, x:], expected[y:, :x], expected[y:, x:] = 10, 20, 30, 40
        if 10 in image and 40 in image:
            np.testing.assert_array_equal(image, expected)
            points.append((x, y))
        by_label = {item.label: box for item, box in zip(result.items, result.boxes, strict=True)}
        for level in np.unique(image):
            rows, columns = np.nonzero(image == level)
            around = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert by_label[level].tolist() == around
    points = np.array(points)
    assert points.min() < 3
    assert points.max() > 17


def test_half_the_scale_shows_all_of_two_canvases_and_grey_around():
    """At 0.5 each tile is 10 x 10, the point lies between 5 and 15, and nothing is cut."""
    for seed in range(30):
        result = mixed(Mosaic(20, 20, 0.5, 0.5), seed)
        assert [item.label for item in result.items] == [10, 20, 30, 40]
        sides = result.boxes[:, 2:] - result.boxes[:, :2]
        if (sides == 10).all():
            (x, y) = result.boxes[0, 2:]
            assert 5 <= x <= 15
            assert 5 <= y <= 15
            corners = [[x - 10, y - 10], [x, y - 10], [x - 10, y], [x, y]]
            assert result.boxes[:, :2].tolist() == corners
            assert (result.image == GREY).all(axis=2).sum() == 0
    assert any((mixed(Mosaic(30, 30, 0.4, 0.4), s).image == GREY).any() for s in range(5))


def test_images_of_any_shape_keep_their_aspect_ratio():
    tiles = [tile(10, 20, 40), tile(20, 40, 10), tile(30, 7, 7), tile(40, 100, 50)]
    for seed in range(20):
        result = mixed(Mosaic(60, 60, 0.4, 0.4, least_visible_fraction=1.0), seed, tiles)
        for item, box in zip(result.items, result.boxes, strict=True):
            height, width = tiles[item.label // 10 - 1].image.shape[:2]
            ratio = 24 / max(height, width)  # 0.4 of the canvas
            # A side that the canvas cuts ends at a whole pixel of the image.
            rounding = 0.5 + max(ratio, 1) / 2
            assert box[2] - box[0] == pytest.approx(width * ratio, abs=rounding)
            assert box[3] - box[1] == pytest.approx(height * ratio, abs=rounding)


def test_what_is_not_seen_is_not_read():
    """At scale 1.5 the point may lie outside of the canvas."""
    counts = []
    for seed in range(60):
        read = []
        result = mixed(Mosaic(20, 20, 1.5, 1.5, least_visible_fraction=0), seed, read=read)
        shown = set(np.unique(result.image)) - {GREY, 10}
        assert shown == {10 * (number + 1) for number in read}
        counts.append(len(read))
    assert 3 in counts
    assert min(counts) < 3


def test_objects_hardly_seen_go():
    fractions = []
    for seed in range(60):
        result = mixed(Mosaic(20, 20, 1.0, 1.0, least_visible_fraction=0.3), seed)
        areas = np.prod(result.boxes[:, 2:] - result.boxes[:, :2], axis=1)
        fractions += (areas / 400).tolist()
    assert min(fractions) >= 0.3
    assert min(fractions) < 0.4


def test_a_mosaic_happens_as_often_as_asked():
    sizes = [mixed(Mosaic(30, 30, probability=0.3), seed).image.shape[0] for seed in range(500)]
    assert set(sizes) == {20, 30}
    assert abs(sizes.count(30) - 150) < 5 * (500 * 0.3 * 0.7) ** 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"height": 0}, id="no height"),
        pytest.param({"least_scale": 0.0}, id="nothing"),
        pytest.param({"fill": -1}, id="fill"),
        pytest.param({"probability": 2}, id="probability"),
    ],
)
def test_impossible_arguments_are_refused(arguments):
    with pytest.raises(UserError):
        Mosaic(**{"height": 10, "width": 10, **arguments})
