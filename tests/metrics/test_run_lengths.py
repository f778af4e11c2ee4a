"""Run lengths against pycocotools."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco_mask

from lit_detseg.metrics.run_lengths import encoded, mask_areas


def assert_same_bytes(mask):
    assert encoded(mask) == coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))


@given(arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_every_mask_has_the_bytes_of_pycocotools(mask):
    assert_same_bytes(mask)


@pytest.mark.parametrize("rows", [slice(0, 40), slice(0, 25), slice(25, 40), slice(7, 30)])
@pytest.mark.parametrize("columns", [slice(0, 60), slice(0, 1), slice(59, 60), slice(20, 41)])
def test_rectangles_at_and_between_all_borders(rows, columns):
    mask = np.zeros((40, 60), dtype=bool)
    mask[rows, columns] = True
    assert_same_bytes(mask)
    mask[rows, columns][::2] = False
    assert_same_bytes(mask)


def test_a_view_of_columns_first_is_read_as_any_other():
    assert_same_bytes(np.asfortranarray(np.eye(5, 7, dtype=bool))[:, ::-1])


def test_areas_of_more_masks_than_a_byte_counts():
    masks = [encoded(np.ones((2, number + 1), bool)) for number in range(300)]
    assert mask_areas(masks).tolist() == [2.0 * (number + 1) for number in range(300)]
    assert mask_areas([]).shape == (0,)
