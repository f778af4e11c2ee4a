"""Letterbox and large scale jitter: where things land, and what is filled."""

import numpy as np
import pytest

from lit_detseg.data.records import Object
from lit_detseg.data.transforms import LargeScaleJitter, Letterbox, Sample, apply
from lit_detseg.data.transforms.canvas import Area, place
from lit_detseg.structures import UserError
from tests.data.transforms.drawn import Shape, check_content, draw


def marked(height, width):
    """An image whose pixels are 200, wholly covered by one object."""
    box = (0.0, 0.0, float(width), float(height))
    square = [[0.0, 0, width, 0, width, height, 0, height]]
    image = np.full((height, width, 3), 200, np.uint8)
    return Sample.from_objects(image, [Object(box, 0, 1.0, square)])


@pytest.mark.parametrize(
    ("size", "box"),
    [
        pytest.param((100, 200), [0, 104, 416, 312], id="wide: 208 high, 104 above"),
        pytest.param((300, 200), [69, 0, 346, 416], id="high: 277.3 is 277 wide, 139 / 2 is 69"),
        pytest.param((416, 416), [0, 0, 416, 416], id="fits"),
        pytest.param((3, 1000), [0, 207, 416, 208], id="1.2 rows are 1, 415 / 2 is 207"),
        pytest.param((1, 5000), [0, 207, 416, 208], id="less than a row is one"),
    ],
)
def test_letterbox_rounds_as_darknet_does(size, box):
    result = apply([Letterbox(416, 416)], marked(*size), seed=0)
    assert result.boxes.tolist() == [box]
    assert result.windows.tolist() == [box]
    x1, y1, x2, y2 = box
    expected = np.full((416, 416, 3), 128, np.uint8)
    expected[y1:y2, x1:x2] = 200
    np.testing.assert_array_equal(result.image, expected)


def test_letterbox_into_a_rectangle():
    """(20, 10) fits the height of (40, 60) twice: 20 columns, 20 on each side."""
    assert apply([Letterbox(40, 60)], marked(20, 10), 0).boxes.tolist() == [[20, 0, 40, 40]]


def test_a_small_image_lies_above_and_left_of_grey():
    jitter = LargeScaleJitter(40, 60, 0.5, 0.5)
    result = apply([jitter], marked(40, 40), seed=0)  # fits at 40 x 40, half of it is 20 x 20
    assert result.boxes.tolist() == [[0, 0, 20, 20]]
    expected = np.full((40, 60, 3), 128, np.uint8)
    expected[:20, :20] = 200
    np.testing.assert_array_equal(result.image, expected)


def test_a_large_image_fills_the_canvas_with_a_random_part():
    image = np.tile(np.arange(100, dtype=np.uint8)[:, None, None], (1, 100, 3))  # its row
    sample = marked(100, 100)._replace(image=image)
    tops = []
    for seed in range(40):
        result = apply([LargeScaleJitter(50, 50, 2.0, 2.0)], sample, seed)
        # At scale 2 the image is 100 x 100 and 50 x 50 of it are kept: nothing is resized.
        scale_x, scale_y, left, top = result.placements[0]
        assert (scale_x, scale_y) == (1, 1)
        np.testing.assert_array_equal(result.image[:, 0, 0], np.arange(50) - top)
        assert result.boxes.tolist() == [[0, 0, 50, 50]]
        tops.append(-top)
        assert 0 <= -left <= 50
    assert min(tops) < 8
    assert max(tops) > 42


def test_a_part_lands_where_it_is_put():
    """Columns 5 to 15 and rows 8 to 20 on 20 columns from 3 on and 6 rows from 10 on."""
    sample = draw(20, 24, [Shape("rectangle", (7, 10, 14, 16))])
    canvas = np.zeros((16, 23, 3), np.uint8)
    result = place(sample, Area(5, 8, 15, 20), canvas, Area(3, 10, 23, 16))
    assert result.placements.tolist() == [[2, 0.5, 3 - 5 * 2, 10 - 8 / 2]]
    assert result.boxes.tolist() == [[3 + 2 * 2, 10 + 1, 3 + 9 * 2, 10 + 4]]
    assert (canvas[:10] == 0).all()
    assert (canvas[:, :3] == 0).all()
    check_content(result, 2)


def test_the_scale_is_uniform():
    sample = marked(64, 64)
    jitter = LargeScaleJitter(640, 640, 0.1, 0.9)
    sides = np.array([apply([jitter], sample, seed).boxes[0, 2] for seed in range(100)])
    assert abs(sides.mean() / 640 - 0.5) < 5 * 0.8 / 12**0.5 / 10
    assert sides.min() < 0.2 * 640
    assert sides.max() > 0.8 * 640


def test_jitter_can_remove_what_is_hardly_seen():
    sample = draw(48, 48, [Shape("rectangle", (0, 0, 12, 12)), Shape("octagon", (20, 20, 40, 44))])
    for least in (0.0, 1.0):
        jitter = LargeScaleJitter(24, 24, 2.0, 2.0, least_visible_fraction=least)
        results = [apply([jitter], sample, seed) for seed in range(50)]
        whole = [
            np.allclose(box, of_item)
            for result in results
            for of_item, box in zip(annotated_boxes(result), result.boxes, strict=True)
        ]
        assert all(whole) == (least == 1.0)


def annotated_boxes(sample):
    boxes = np.array([item.box for item in sample.items]).reshape(-1, 4)
    scale, offset = sample.placements[:, :2], sample.placements[:, 2:]
    return boxes * np.tile(scale, 2) + np.tile(offset, 2)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: Letterbox(0, 5), id="no height"),
        pytest.param(lambda: Letterbox(5, 5, fill=256), id="no grey level"),
        pytest.param(lambda: LargeScaleJitter(5, 0), id="no width"),
        pytest.param(lambda: LargeScaleJitter(5, 5, 2.0, 1.0), id="scales"),
        pytest.param(lambda: LargeScaleJitter(5, 5, least_visible_fraction=2), id="fraction"),
    ],
)
def test_impossible_arguments_are_refused(make):
    with pytest.raises(UserError):
        make()
