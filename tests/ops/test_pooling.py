"""RoI pooling bin by bin, RoIAlign sample by sample, FPN's choice of the level, pyramids."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import MultiScaleRoIAlign

from lit_detseg.ops.pooling import (
    closest_scale,
    pool_pyramid,
    pool_rois,
    roi_level,
    window_cells,
)


def test_fast_rcnn_rounds_the_roi_and_its_bins_to_cells():
    """RoI (7, 7) .. (24, 24), last pixel included, stride 16.

    7 / 16 rounds to cell 0, 24 / 16 = 1.5 away from zero to cell 2: three cells. Bin j of 7 takes
    the cells from floor(3 j / 7) to before ceil(3 (j + 1) / 7): [0, 1), [0, 1), [0, 2), [1, 2),
    [1, 3), [2, 3), [2, 3).
    """
    feature = torch.tensor([[0.0, 1.0, 2.0, 9.0]]).expand(4, 4)[None, None]
    pooled = pool_rois([feature], [torch.tensor([[7.0, 7, 25, 25]])], [16], 7, "roi_pool")
    assert pooled[0, 0, 0].tolist() == [0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 2.0]


def test_roi_pooling_takes_the_maximum_of_both_directions():
    feature = torch.arange(16.0).view(1, 1, 4, 4)
    pooled = pool_rois([feature], [torch.tensor([[0.0, 0, 4, 4]])], [1], 2, "roi_pool")
    assert pooled[0, 0].tolist() == [[5.0, 7.0], [13.0, 15.0]]


def test_roi_align_reads_a_ramp_where_its_samples_are():
    """On a map whose value is the column's index, a sample at x (in cells) reads x - 1/2.

    RoI from x = 1 to 3 in two bins of one cell, two samples each: 1.25, 1.75 | 2.25, 2.75.
    The legacy form forgets the half cell.
    """
    columns = torch.arange(6.0).expand(6, 6)[None, None]
    roi = [torch.tensor([[8.0, 8, 24, 24]])]
    aligned = pool_rois([columns], roi, [8], 2, "roi_align", sampling_ratio=2)
    legacy = pool_rois([columns], roi, [8], 2, "roi_align_legacy", sampling_ratio=2)
    torch.testing.assert_close(aligned[0, 0, 0], torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(legacy[0, 0, 0], torch.tensor([1.5, 2.5]))


@pytest.mark.parametrize(
    ("side", "level"),
    [
        pytest.param(224, 2, id="224: k0 = 4, stride 16"),
        pytest.param(223.9999, 2, id="less by rounding only: the same level"),
        pytest.param(223, 1, id="a little less: one level finer"),
        pytest.param(112, 1, id="half: exactly one level finer"),
        pytest.param(448, 3, id="double: one level coarser"),
        pytest.param(10, 0, id="below the pyramid: its finest map"),
        pytest.param(0, 0, id="an empty box: likewise"),
        pytest.param(5000, 3, id="above the pyramid: its coarsest map"),
    ],
)
def test_level_of_a_roi_follows_equation_1(side, level):
    box = torch.tensor([[3.0, 5.0, 3.0 + side, 5.0 + side]])
    assert roi_level(box, [4, 8, 16, 32]).tolist() == [level]


def test_level_depends_on_the_area_only():
    wide = torch.tensor([[0.0, 0.0, 448.0, 112.0]])  # sqrt(448 * 112) = 224
    assert math.sqrt(448 * 112) == 224
    assert roi_level(wide, [4, 8, 16, 32]).tolist() == [2]


def test_torchvision_pools_the_same_from_a_pyramid():
    generator = torch.Generator().manual_seed(0)
    features = [torch.rand(2, 3, 256 // s, 256 // s, generator=generator) for s in (4, 8, 16)]
    corner = torch.rand(20, 2, generator=generator) * 100
    rois = torch.cat([corner, corner + 1 + torch.rand(20, 2, generator=generator) ** 3 * 500], 1)
    rois = [rois[:12], rois[12:]]
    assert len(roi_level(torch.cat(rois), [4, 8, 16]).unique()) == 3

    ours = pool_rois(features, rois, [4, 8, 16], 7, "roi_align_legacy", sampling_ratio=2)
    pool = MultiScaleRoIAlign(["0", "1", "2"], 7, sampling_ratio=2)
    named = {str(i): feature for i, feature in enumerate(features)}
    torch.testing.assert_close(ours, pool(named, rois, [(256, 256)] * 2))


def ramp_value(row, column):
    """A bilinear function of continuous cells; the map holds its values at the cells' middles."""
    return 3 + 0.5 * column - 0.25 * row + 0.125 * row * column


def ramp(side):
    middles = torch.arange(side) + 0.5
    return ramp_value(middles[:, None], middles[None])[None, None]


@given(
    corner=st.tuples(st.floats(8, 100), st.floats(8, 100)),
    size=st.tuples(st.floats(2, 120), st.floats(2, 120)),
    sampling_ratio=st.integers(0, 3),
)
def test_roi_align_integrates_a_bilinear_ramp_exactly(corner, size, sampling_ratio):
    """The mean of a bilinear function over a bin is its value in the middle of the bin."""
    (x, y), (width, height) = corner, size
    roi = [torch.tensor([[x, y, x + width, y + height]])]
    pooled = pool_rois([ramp(32)], roi, [8], 4, "roi_align", sampling_ratio)
    middles = (torch.arange(4) + 0.5) / 4
    rows, columns = (y + middles * height) / 8, (x + middles * width) / 8
    expected = ramp_value(rows[:, None], columns[None])
    torch.testing.assert_close(pooled[0, 0], expected, rtol=1e-4, atol=1e-3)


def translation_error(method):
    """How far pooled values are from following a RoI that moves pixel by pixel, at most, in cells.

    On a map whose value is the column, a RoI that moves by d pixels of stride 16 should read d / 16
    more everywhere.
    """
    columns = (torch.arange(16.0) + 0.5).expand(16, 16)[None, None]
    shifts = torch.arange(16.0)
    rois = torch.tensor([64.0, 64, 128, 128]) + shifts[:, None] * torch.tensor([1.0, 0, 1, 0])
    read = pool_rois([columns], [rois], [16], 7, method, sampling_ratio=2)[:, 0, 0]
    return (read - read[:1] - shifts[:, None] / 16).abs().max().item()


def test_roi_align_follows_a_translation_that_roi_pooling_rounds_away():
    """RoIs of 64 pixels from 64 + d: a border jumps to the next cell when d passes 8 of 16 pixels.

    Just before, at d = 7, RoIWarp still reads what it read at d = 0: 7/16 of a cell too little.
    """
    assert translation_error("roi_align") < 1e-5
    assert translation_error("roi_align_legacy") < 1e-5
    assert translation_error("roi_warp") == pytest.approx(7 / 16)
    assert translation_error("roi_pool") == pytest.approx(0.5)


def test_roi_warp_rounds_as_roi_pooling_does_and_reads_as_roi_align_does():
    """RoI (7, 7) .. (24, 24) of section 3.2: cells 0 to 2, here three bins of one cell each."""
    feature = torch.tensor([[4.0, 1.0, 2.0, 9.0]]).expand(4, 4)[None, None]
    roi = [torch.tensor([[7.0, 7, 25, 25]])]
    pooled = pool_rois([feature], roi, [16], 3, "roi_warp", sampling_ratio=1)
    torch.testing.assert_close(pooled[0, 0, 0], torch.tensor([4.0, 1.0, 2.0]))


@pytest.mark.parametrize("method", ["roi_pool", "roi_warp", "roi_align", "roi_align_legacy"])
def test_no_rois_still_reach_every_map(method):
    features = [torch.ones(1, 2, 8, 8, requires_grad=True), torch.ones(1, 2, 4, 4).requires_grad_()]
    pooled = pool_rois(features, [torch.zeros(0, 4)], [4, 8], 7, method)
    assert pooled.shape == (0, 2, 7, 7)
    pooled.sum().backward()
    assert [feature.grad.abs().sum().item() for feature in features] == [0.0, 0.0]


def test_half_precision_maps_are_pooled_in_float32():
    columns = torch.arange(64.0).expand(64, 64)[None, None]
    roi = [torch.tensor([[1000.3, 8, 1016.3, 24]])]  # bfloat16 would read 1000 and 1016
    half = pool_rois([columns.bfloat16()], roi, [16], 1)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half, pool_rois([columns], roi, [16], 1).bfloat16())


def pyramid_by_hand(feature, window, levels):
    """One bin after the other."""
    left, top, right, bottom = window
    columns, rows = right - left, bottom - top
    grids = []
    for bins in levels:
        grid = torch.empty(len(feature), bins, bins)
        for i in range(bins):
            for j in range(bins):
                grid[:, i, j] = feature[
                    :,
                    top + i * rows // bins : top + math.ceil((i + 1) * rows / bins),
                    left + j * columns // bins : left + math.ceil((j + 1) * columns / bins),
                ].amax(dim=(1, 2))
        grids.append(grid.flatten())
    return torch.cat(grids)


@given(data=st.data(), levels=st.sampled_from([(6, 3, 2, 1), (1,), (7, 4), (5, 3)]))
def test_a_pyramid_over_any_window_is_the_maximum_of_each_bin(data, levels):
    rows, columns = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 260))
    feature = torch.rand(2, rows, columns, generator=torch.Generator().manual_seed(rows))
    left, top = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    right, bottom = data.draw(st.integers(left + 1, columns)), data.draw(st.integers(top + 1, rows))
    window = [left, top, right, bottom]

    pooled = pool_pyramid(feature, torch.tensor([window, [0, 0, 1, 1]]), levels)

    assert pooled[0].equal(pyramid_by_hand(feature, window, levels))
    assert pooled[1].equal(pyramid_by_hand(feature, [0, 0, 1, 1], levels))


def test_bins_share_cells_where_the_window_does_not_divide():
    """Four cells in three bins: floor(4 i / 3) .. ceil(4 (i + 1) / 3): [0, 2), [1, 3), [2, 4)."""
    feature = torch.tensor([[[1.0, 5.0, 2.0, 3.0]]]).expand(1, 3, 4)
    pooled = pool_pyramid(feature, torch.tensor([[0, 0, 4, 3]]), (3,))
    assert pooled.reshape(3, 3)[0].tolist() == [5.0, 5.0, 3.0]


def test_a_pyramid_of_the_paper_has_50_bins_channel_by_channel():
    feature = torch.stack([torch.full((9, 9), float(channel)) for channel in range(4)])
    pooled = pool_pyramid(feature, torch.tensor([[1, 1, 8, 9]]), (6, 3, 2, 1))
    assert pooled.shape == (1, 4 * 50)
    assert pooled[0, :144].reshape(4, 36).unique(dim=1).squeeze(1).tolist() == [0.0, 1.0, 2.0, 3.0]


def test_a_gradient_goes_to_the_maximum_of_each_bin():
    feature = torch.arange(16.0).reshape(1, 4, 4).requires_grad_()
    pool_pyramid(feature, torch.tensor([[0, 0, 4, 4]]), (2, 1)).sum().backward()
    assert feature.grad[0].tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 1, 0, 2]]


@pytest.mark.parametrize(
    ("window", "cells"),
    [
        # Cell i looks at the pixels around 16 i, counted from 0.
        pytest.param([1, 1, 50, 50], [1, 1, 4, 4], id="pixels 1 .. 49: 16, 32 and 48"),
        pytest.param([0, 0, 49, 49], [1, 1, 3, 3], id="floor(0 / 16) + 1: pixel 0 is not inside"),
        pytest.param([15, 15, 50, 50], [1, 1, 4, 4], id="pixel 15: 16 is inside"),
        pytest.param([16, 16, 50, 50], [2, 2, 4, 4], id="pixel 16: 16 is its first, not inside"),
        pytest.param([1, 20, 50, 28], [1, 1, 4, 2], id="20 .. 27: 2 and 1 become (2 + 1) // 2 = 1"),
        pytest.param([7, 7, 8, 8], [0, 0, 1, 1], id="a pixel: 1 and 0 become 0"),
        pytest.param([1, 1, 900, 900], [1, 1, 6, 5], id="as far as the map goes"),
        pytest.param([300, 300, 400, 400], [5, 4, 6, 5], id="beside the map: its last cell"),
    ],
)
def test_windows_on_a_map_of_5_rows_and_6_columns(window, cells):
    box = torch.tensor([window], dtype=torch.float32)
    assert window_cells(box, (5, 6)).tolist() == [cells]


def test_cells_that_look_elsewhere_move_the_windows():
    """VGG-16: cell i looks at 16 i + 8, the middle of the pixels 16 i + 7 and 16 i + 8."""
    box = torch.tensor([[7.0, 8.0, 40.0, 41.0]])  # pixels 7 .. 39 and 8 .. 40
    assert window_cells(box, (5, 6), first_middle=8.0).tolist() == [[0, 1, 2, 3]]


@given(
    corner=st.tuples(st.floats(0, 600), st.floats(0, 600)),
    size=st.tuples(st.floats(0.01, 700), st.floats(0.01, 700)),
    map_size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_every_window_has_a_cell_of_the_map(corner, size, map_size):
    box = torch.tensor([[*corner, corner[0] + size[0], corner[1] + size[1]]])
    left, top, right, bottom = window_cells(box, map_size)[0].tolist()
    assert 0 <= left < right <= map_size[1]
    assert 0 <= top < bottom <= map_size[0]


@pytest.mark.parametrize(
    ("side", "index"),
    [
        pytest.param(224, 0, id="as large as in ImageNet: not resized"),
        pytest.param(112, 1, id="half: doubled"),
        pytest.param(56, 2, id="a quarter: as large as can be"),
        pytest.param(500, 0, id="too large at any scale: the smallest"),
        # 224^2 lies halfway between s^2 and (2 s)^2 for s = 224 / sqrt(2.5) = 141.67.
        pytest.param(141.6, 1, id="areas, not sides: 2 s is nearer"),
        pytest.param(141.8, 0, id="s is nearer"),
    ],
)
def test_a_window_is_seen_at_the_scale_of_imagenet(side, index):
    window = torch.tensor([[3.0, 5.0, 3.0 + side, 5.0 + side]])
    assert closest_scale(window, [1.0, 2.0, 3.0]).tolist() == [index]
