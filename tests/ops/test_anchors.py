"""Anchors against the table of py-faster-rcnn and against torchvision."""

import pytest
import torch
from torchvision.models.detection.anchor_utils import AnchorGenerator

from lit_detseg.ops.anchors import cell_anchors, grid_anchors, grid_keys
from lit_detseg.structures import UserError

# lib/rpn/generate_anchors.py prints these: inclusive pixels, so x2 and y2 are one less than ours.
PY_FASTER_RCNN = [
    [-84, -40, 99, 55],
    [-176, -88, 191, 103],
    [-360, -184, 375, 199],
    [-56, -56, 71, 71],
    [-120, -120, 135, 135],
    [-248, -248, 263, 263],
    [-36, -80, 51, 95],
    [-80, -168, 95, 183],
    [-168, -344, 183, 359],
]


def test_the_table_of_py_faster_rcnn():
    cell = cell_anchors(
        [128.0, 256.0, 512.0], [0.5, 1.0, 2.0], stride=16, rounding="py_faster_rcnn"
    )
    anchors = grid_anchors(cell, (1, 1), stride=16)
    assert (anchors - torch.tensor([0.0, 0, 1, 1])).tolist() == PY_FASTER_RCNN


def test_unrounded_anchors_have_the_asked_area_and_shape():
    left, top, right, bottom = cell_anchors([100.0], [4.0])[0].tolist()
    assert (right - left, bottom - top) == (50.0, 200.0)  # 50 * 200 = 100^2, 200 / 50 = 4
    assert (left, top) == (-25.0, -100.0)


def test_torchvision_draws_the_same_anchors():
    sizes, ratios = ((32.0, 57.0), (64.0, 91.0)), (0.5, 1.0, 2.0)
    generator = AnchorGenerator(sizes, (ratios, ratios))
    generator.set_cell_anchors(torch.float32, torch.device("cpu"))
    grids, strides = [[3, 4], [2, 2]], [8, 16]
    theirs = generator.grid_anchors(grids, [[torch.tensor(s)] * 2 for s in strides])

    for size, grid, stride, expected in zip(sizes, grids, strides, theirs, strict=True):
        cell = cell_anchors(size, ratios, stride, rounding="torchvision")
        ours = grid_anchors(cell, (grid[0], grid[1]), stride, center=0.0)
        assert torch.equal(ours, expected)


def test_order_is_row_by_row_cell_by_cell_anchor_by_anchor():
    cell = torch.tensor([[-1.0, -1, 1, 1], [-2, -2, 2, 2]])
    anchors = grid_anchors(cell, (2, 3), stride=10)
    middle = (anchors[:, :2] + anchors[:, 2:]) / 2
    expected = [[x, y] for y in (5.0, 15.0) for x in (5.0, 15.0, 25.0) for _ in cell]
    assert middle.tolist() == expected
    assert (anchors[:, 2] - anchors[:, 0]).tolist() == [2.0, 4.0] * 6


def test_a_wider_map_keeps_the_keys_of_its_anchors():
    narrow, wide = grid_keys((2, 3), 9, level=1), grid_keys((4, 7), 9, level=1)
    assert torch.equal(wide.view(4, 7, 9)[:2, :3].flatten(), narrow)


def test_no_two_anchors_of_a_pyramid_share_a_key():
    keys = torch.cat([grid_keys((30, 40), 3, 0), grid_keys((15, 20), 3, 1)])
    assert len(keys.unique()) == len(keys)


def test_an_impossible_anchor_is_refused():
    with pytest.raises(UserError, match="all above 0"):
        cell_anchors([128.0], [0.5, 0.0])
