"""Boxes put in order, and a missing module named."""

import cv2
import numpy as np
import pytest

from lit_detseg.data.proposals.method import inside_image, require_ximgproc
from lit_detseg.errors import UserError


def test_boxes_are_cut_at_the_border_and_the_first_of_equal_ones_stays():
    boxes = [
        [5, 5, 9, 9],
        [-3, 2, 4, 30],  # cut to [0, 2, 4, 10]
        [20, 0, 25, 5],  # outside
        [0, 0, 3, 3],
        [0, 2, 4, 10],  # the second one again
        [6, 6, 6, 8],  # no area
    ]
    kept = inside_image(np.array(boxes), height=10, width=20)
    assert kept.tolist() == [[5, 5, 9, 9], [0, 2, 4, 10], [0, 0, 3, 3]]
    assert kept.dtype == np.float32


def test_no_boxes_stay_no_boxes():
    assert inside_image(np.zeros((0, 4)), 10, 20).shape == (0, 4)


def test_a_missing_module_is_named_with_the_package_that_has_it(monkeypatch):
    require_ximgproc("selective_search")
    monkeypatch.delattr(cv2, "ximgproc")
    with pytest.raises(UserError, match=r"edge_boxes needs cv2.ximgproc.*opencv-contrib-python-h"):
        require_ximgproc("edge_boxes")
