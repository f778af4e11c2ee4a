"""Offsets of linear box regressors."""

import pytest
import torch

from lit_detseg.models.heads.region_boxes import RegionBoxRegressors


def test_each_class_has_four_linear_functions_of_scaled_features():
    regressors = RegionBoxRegressors(num_classes=2, num_features=3)
    regressors.weights[1, 2] = torch.tensor([1.0, 2, 3])
    regressors.bias[1, 0] = 0.25
    regressors.scale.fill_(2.0)
    offsets = regressors(torch.tensor([[1.0, 0.5, 0.1]]))
    assert offsets[0, 0].tolist() == [0, 0, 0, 0]
    assert offsets[0, 1].tolist() == pytest.approx([0.25, 0, 2 * (1 + 2 * 0.5 + 3 * 0.1), 0])


def test_nothing_learns_and_everything_is_stored():
    regressors, other = RegionBoxRegressors(2, 3), RegionBoxRegressors(2, 3)
    assert list(regressors.parameters()) == []
    assert not regressors.are_fitted
    other.scale.fill_(1.0)
    regressors.load_state_dict(other.state_dict())
    assert regressors.are_fitted


def test_offsets_are_float32_under_autocast():
    regressors = RegionBoxRegressors(2, 3)
    regressors.weights.copy_(torch.randn(2, 4, 3))
    regressors.scale.fill_(1.0)
    pooled = torch.randn(4, 3)
    expected = regressors(pooled)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert regressors(pooled).equal(expected)
