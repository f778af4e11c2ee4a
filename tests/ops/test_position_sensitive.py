"""Position-sensitive pooling bin by bin, and what it is for."""

import math

import pytest
import torch
from torchvision.ops import ps_roi_pool

from lit_detseg.ops.position_sensitive import (
    class_logits,
    mask_probabilities,
    pool_position_sensitive,
)


def random_rois(count, width, height, generator):
    corner = torch.rand(count, 2, generator=generator) * torch.tensor([width, height])
    size = torch.rand(count, 2, generator=generator) ** 2 * torch.tensor([width, height])
    far = torch.minimum(corner + size, torch.tensor([width, height]))
    return torch.cat([corner, far], dim=1)


def test_one_bin_per_part_is_torchvision_s_operator():
    """With stride 1, and regions that end before the last row and column, which it never reads."""
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(2, 3 * 49, 40, 50, generator=generator).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    rois = [random_rois(count, 48.4, 38.4, generator) for count in (30, 50)]
    weight = torch.randn(80, 3, 7, 7, generator=generator)

    pooled = pool_position_sensitive(ours, rois, stride=1, groups=7, cells=7)
    expected = ps_roi_pool(theirs, rois, (7, 7), 1.0)
    (pooled * weight).sum().backward()
    (expected * weight).sum().backward()

    torch.testing.assert_close(pooled, expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_every_cell_is_the_mean_of_its_bin_in_the_map_of_its_part():
    generator = torch.Generator().manual_seed(1)
    stride, groups, cells, quantities = 16, 3, 9, 2
    maps = torch.randn(2, quantities * groups**2, 10, 13, generator=generator)
    some = random_rois(8, 200.0, 150.0, generator)
    odd = [[0, 0, 208, 160], [33.5, 17.4, 34, 18], [190, 100, 260, 200], [300, 20, 320, 40]]
    rois = [some, torch.tensor(odd, dtype=torch.float32)]

    pooled = pool_position_sensitive(maps, rois, stride, groups, cells)

    numbered = [(image, roi) for image in (0, 1) for roi in rois[image].tolist()]
    for number, (image, roi) in enumerate(numbered):
        x1, y1, x2, y2 = (math.floor(side + 0.5) / stride for side in roi)
        width, height = max(x2 - x1, 0.1) / cells, max(y2 - y1, 0.1) / cells
        for i in range(cells):
            for j in range(cells):
                row, column = i * groups // cells, j * groups // cells
                part = maps[image, row * groups + column :: groups**2]
                top, bottom = bin_of(y1, height, i)
                left, right = bin_of(x1, width, j)
                touched = part[:, max(top, 0) : bottom, max(left, 0) : right]
                mean = touched.mean(dim=(1, 2)) if touched.numel() else torch.zeros(quantities)
                torch.testing.assert_close(pooled[number, :, i, j], mean)


def bin_of(start, side, number):
    """Where a bin begins and ends; the small term keeps whole numbers whole."""
    return math.floor(start + number * side + 1e-9), math.ceil(start + (number + 1) * side - 1e-9)


def test_a_region_astride_two_identical_objects_is_neither():
    """Two squares side by side, 32 pixels each; a map of the left halves, one of the right.

    Region A is the first square, B the second, C half of each: its left part lies where objects
    have their right. One map for all parts cannot tell the three apart (figure 1).
    """
    left_halves = torch.tensor([1.0, 1, 0, 0, 1, 1, 0, 0]) * 2 - 1  # cells of 8 pixels
    rois = [torch.tensor([[0.0, 0, 32, 32], [32, 0, 64, 32], [16, 0, 48, 32]])]

    def inside(*columns, groups):
        maps = torch.stack([column.expand(4, 8) for column in columns])[None]
        outside = torch.zeros_like(maps)
        both = torch.cat([outside, maps], dim=1)
        scores = pool_position_sensitive(both, rois, 8, groups, cells=4)[:, None]
        return (mask_probabilities(scores, torch.zeros(3, dtype=torch.int64)) > 0.5).float()

    parts = inside(left_halves, -left_halves, left_halves, -left_halves, groups=2)
    assert parts.mean(dim=(1, 2)).tolist() == [1.0, 1.0, 0.0]
    one = inside(torch.ones(8), groups=1)
    assert one.mean(dim=(1, 2)).tolist() == [1.0, 1.0, 1.0]


def test_a_class_scores_the_better_of_inside_and_outside_in_each_cell():
    """Outside 1, 0, 3, 2 and inside 2, 4, -1, 2: maxima 2, 4, 3, 2, mean 11 / 4."""
    outside = torch.tensor([[1.0, 0.0], [3.0, 2.0]])
    inside = torch.tensor([[2.0, 4.0], [-1.0, 2.0]])
    scores = torch.stack([outside, inside])[None, None]
    assert class_logits(scores).tolist() == [[2.75]]


def test_a_mask_is_the_softmax_of_outside_and_inside_of_its_class():
    scores = torch.zeros(1, 2, 2, 1, 1)
    scores[0, 1, :, 0, 0] = torch.tensor([1.0, 3.0])
    mask = mask_probabilities(scores, torch.tensor([1]))
    assert mask.item() == pytest.approx(1 / (1 + math.exp(-2)))
    assert mask_probabilities(scores, torch.tensor([0])).item() == 0.5


def test_maps_that_know_the_inside_draw_the_mask():
    """A region of 3 x 3 parts; the object is its upper left 2 x 2 cells of 16 pixels."""
    inside = torch.full((1, 9, 3, 3), -5.0)
    inside[:, :, :2, :2] = 5.0
    maps = torch.cat([-inside, inside], dim=1)
    scores = pool_position_sensitive(maps, [torch.tensor([[0.0, 0, 48, 48]])], 16, 3, 3)
    mask = mask_probabilities(scores[:, None], torch.tensor([0]))
    assert (mask[0] > 0.5).tolist() == [[True, True, False], [True, True, False], [False] * 3]


def test_no_regions_have_no_scores_and_still_a_gradient():
    maps = torch.ones(2, 2 * 49, 4, 4, requires_grad=True)
    pooled = pool_position_sensitive(maps, [torch.zeros(0, 4)] * 2, 16)
    pooled.sum().backward()
    assert pooled.shape == (0, 2, 21, 21)
    assert maps.grad.abs().sum().item() == 0


def test_half_precision_maps_are_pooled_in_float32():
    maps = torch.randn(1, 49, 6, 6).bfloat16()
    roi = [torch.tensor([[3.0, 3, 90, 80]])]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = pool_position_sensitive(maps, roi, 16)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, pool_position_sensitive(maps.float(), roi, 16))
