"""The pyramid against the paper's section 3, written out."""

import torch
from torch.nn import functional as F

from lit_detseg.models.necks.fpn import FeaturePyramid


def test_levels_are_lateral_plus_upsampled_coarser_then_smoothed():
    torch.manual_seed(0)
    neck = FeaturePyramid([3, 5], out_channels=4)
    fine, coarse = torch.randn(2, 3, 6, 4), torch.randn(2, 5, 3, 2)
    weights = neck.state_dict()

    def conv(name, features, padding):
        weight, bias = (weights[f"pyramid.{name}.0.{part}"] for part in ("weight", "bias"))
        return F.conv2d(features, weight, bias, padding=padding)

    top = conv("inner_blocks.1", coarse, 0)
    doubled = top.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected_fine = conv("layer_blocks.0", conv("inner_blocks.0", fine, 0) + doubled, 1)
    expected_coarse = conv("layer_blocks.1", top, 1)

    maps = neck([fine, coarse])

    torch.testing.assert_close(maps[0], expected_fine)
    torch.testing.assert_close(maps[1], expected_coarse)
    assert maps[2].equal(maps[1][:, :, ::2, ::2])  # P6: every second cell


def test_odd_sizes_are_upsampled_to_the_finer_map():
    neck = FeaturePyramid([2, 2, 2], out_channels=16, norm="group")
    maps = neck([torch.randn(1, 2, 13, 7), torch.randn(1, 2, 7, 4), torch.randn(1, 2, 4, 2)])
    assert [tuple(m.shape[2:]) for m in maps] == [(13, 7), (7, 4), (4, 2), (2, 1)]


def test_the_extra_level_can_be_left_out_and_has_no_weights():
    with_p6 = FeaturePyramid([2, 2], out_channels=8)
    without = FeaturePyramid([2, 2], out_channels=8, extra_level=False)

    assert len(without([torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)])) == 2
    assert with_p6.state_dict().keys() == without.state_dict().keys()


def test_group_norm_makes_the_scale_of_the_input_irrelevant():
    neck = FeaturePyramid([3, 5], out_channels=16, norm="group")
    maps = [torch.randn(1, 3, 8, 8), torch.randn(1, 5, 4, 4)]
    scaled = [1000 * m for m in maps]
    for small, large in zip(neck(maps), neck(scaled), strict=True):
        torch.testing.assert_close(small, large, rtol=1e-3, atol=1e-3)
