"""PNGs of the classes of pixels, right and wrong."""

import io

import numpy as np
import pytest
from PIL import Image

from lit_detseg.data.packing.checks import Kind
from lit_detseg.data.packing.label_png import count_pixels
from lit_detseg.structures import LabelMap

LABELS = LabelMap(("road", "sky", "car"))


def png(pixels, mode=None):
    stream = io.BytesIO()
    Image.fromarray(pixels, mode).save(stream, "PNG")
    return stream.getvalue()


def grey(*rows):
    return png(np.array(rows, np.uint8))


def test_pixels_of_each_class_are_counted_and_255_is_none():
    counts = count_pixels(grey([0, 0, 2], [255, 2, 2]), "a.jpg", LABELS, 2, 3)
    assert counts == {0: 2, 2: 3}


def test_a_value_outside_the_label_map_is_named_with_its_pixels():
    faults = count_pixels(grey([3, 0, 2], [254, 3, 2]), "a.jpg", LABELS, 2, 3)
    assert [str(fault) for fault in faults] == [
        "a.jpg, pixel classes: unknown pixel class: value 3 on 2 pixels; "
        "the label map has 0 to 2, and 255 is none",
        "a.jpg, pixel classes: unknown pixel class: value 254 on 1 pixels; "
        "the label map has 0 to 2, and 255 is none",
    ]


def test_another_size_than_the_images_is_a_fault():
    (fault,) = count_pixels(grey([0, 0, 2]), "a.jpg", LABELS, 3, 1)
    assert (fault.kind, fault.detail) == (
        Kind.WRONG_LABELS_SIZE,
        "(1, 3) but the image is (3, 1) (height, width)",
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated, corrupt"),
        (b"no image", "truncated, corrupt"),
        (png(np.zeros((2, 3, 3), np.uint8)), "3,. channels, not 8 bits of grey"),
        (png(np.zeros((2, 3), np.uint16)), "uint16 in 1 channels"),
    ],
)
def test_anything_but_8_bits_of_grey_is_a_fault(data, reason):
    (fault,) = count_pixels(data, "a.jpg", LABELS, 2, 3)
    assert fault.kind is Kind.UNREADABLE_LABELS
    assert reason.replace("3,.", "(3,)") in fault.detail
