"""Masks as pixels and back."""

import numpy as np
from hypothesis import given
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco

from lit_detseg.data.transforms.dense import cut_out_masks, dense_masks, encode, tight_box
from tests.data.transforms.drawn import COLOURS, Shape, draw


def test_dense_masks_are_the_coloured_pixels():
    shapes = [Shape("arch", (2, 3, 18, 20)), Shape("corner", (20, 5, 39, 28), "rle")]
    sample = draw(30, 40, [*shapes, Shape("rectangle", (2, 22, 9, 29), "box")])
    coloured = [(sample.image == colour).all(axis=2) for colour in COLOURS[:2]]
    np.testing.assert_array_equal(dense_masks(sample), [*coloured, np.zeros((30, 40), bool)])


def test_what_is_cut_out_holds_the_visible_part_only():
    shapes = [Shape("arch", (2, 3, 18, 20)), Shape("corner", (20, 5, 39, 28), "rle")]
    sample = draw(30, 40, [*shapes, Shape("rectangle", (2, 22, 9, 29), "box")])
    windows = np.tile([5.0, 0.0, 30.0, 10.5], (3, 1))
    (arch, of_arch), (_, of_corner), (_, of_box) = cut_out_masks(sample._replace(windows=windows))
    assert arch == np.s_[3:11, 5:18]
    assert of_arch.shape == (8, 13)
    assert not of_arch[7].any()  # row 10 has its centre at the window's border
    assert of_corner.sum() == (29 - 20) * 5  # its left half, cut after five rows
    assert not of_box.any()


@given(arrays.arrays(np.bool_, (7, 5)))
def test_encoding_keeps_every_pixel(pixels):
    rle = encode(pixels, (7, 5))
    assert rle["size"] == [7, 5]
    assert isinstance(rle["counts"], str)  # as in a record
    np.testing.assert_array_equal(coco.decode(rle), pixels)
    within = encode(pixels, (9, 9), np.s_[1:8, 3:8])
    np.testing.assert_array_equal(coco.decode(within), np.pad(pixels, ((1, 1), (3, 1))))


@given(arrays.arrays(np.bool_, (7, 5)))
def test_tight_boxes_are_those_of_coco(pixels):
    x, y, width, height = coco.toBbox(encode(pixels, (7, 5)))
    expected = [x, y, x + width, y + height] if pixels.any() else [0, 0, 0, 0]
    assert tight_box(pixels).tolist() == expected
