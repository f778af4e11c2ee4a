"""Margins of linear SVMs."""

import pytest
import torch

from lit_detseg.models.heads.linear_svms import NEVER, LinearSVMs


def fitted():
    svms = LinearSVMs(num_classes=2, num_features=3)
    svms.weights.copy_(torch.tensor([[1.0, 0, -1], [0, 2, 0]]))
    svms.bias.copy_(torch.tensor([0.5, -1]))
    svms.scale.fill_(10.0)
    return svms


def test_a_margin_is_weights_times_scaled_features_and_bias():
    margins = fitted()(torch.tensor([[0.3, 0.2, 0.1]]))
    assert margins[0].tolist() == pytest.approx([10 * 0.3 - 10 * 0.1 + 0.5, 2 * 10 * 0.2 - 1])


def test_nothing_learns_and_everything_is_stored():
    svms = LinearSVMs(2, 3)
    assert list(svms.parameters()) == []
    assert not svms.are_fitted
    svms.load_state_dict(fitted().state_dict())
    assert svms.are_fitted


def test_margins_are_exact_under_autocast():
    features = torch.randn(5, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fitted()(features).equal(fitted()(features.float()))
        assert fitted()(features).dtype == torch.float32
    torch.testing.assert_close(
        fitted()(features), features * 10 @ fitted().weights.T + fitted().bias
    )


def test_never_is_a_probability_of_zero():
    assert torch.tensor(NEVER).sigmoid() == 0
