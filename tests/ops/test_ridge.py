"""Ridge regression and whitening against scikit-learn and NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from lit_detseg.ops import ridge
from lit_detseg.ops.ridge import ridge_regression, whiten


def draw(rows, features, columns=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, features, generator=generator)
    return x, torch.randn(rows, columns, generator=generator)


@pytest.mark.parametrize(
    ("rows", "features"),
    [
        pytest.param(50, 7, id="more rows: the system of the features"),
        pytest.param(7, 50, id="more features: the system of the rows"),
        pytest.param(9, 9, id="as many"),
        pytest.param(1, 3, id="one row"),
    ],
)
@pytest.mark.parametrize("penalty", [0.01, 1000.0])
def test_it_is_scikit_learn_s_ridge_without_an_intercept(rows, features, penalty):
    x, y = draw(rows, features)
    expected = Ridge(alpha=penalty, fit_intercept=False).fit(x.double().numpy(), y.double().numpy())
    found = ridge_regression(x, y, penalty)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected.coef_.T, rtol=1e-8, atol=1e-12)


def test_one_number_by_hand():
    """x = (1, 2), y = (3, 4), penalty 5: (1 * 3 + 2 * 4) / (1 + 4 + 5)."""
    found = ridge_regression(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0]]), 5.0)
    assert found.item() == pytest.approx(11 / 10)


def test_no_rows_give_zeros():
    assert ridge_regression(torch.zeros(0, 3), torch.zeros(0, 4), 1.0).eq(0).all()


def test_a_system_summed_in_parts_is_the_same(monkeypatch):
    x, y = draw(50, 7)
    whole = ridge_regression(x, y, 1.0)
    monkeypatch.setattr(ridge, "ROWS", 8)
    torch.testing.assert_close(ridge_regression(x, y, 1.0), whole)


def test_features_in_half_precision_are_summed_in_double():
    x, y = draw(3000, 3)
    half = (x + 100).half()
    expected = np.linalg.solve(
        half.double().T.numpy() @ half.double().numpy() + np.eye(3),
        half.double().T.numpy() @ y.double().numpy(),
    )
    np.testing.assert_allclose(ridge_regression(half, y, 1.0).numpy(), expected, rtol=1e-9)


@given(rows=st.integers(1, 30), scale=st.floats(1e-3, 1e3))
def test_whitening_can_be_undone(rows, scale):
    targets = draw(rows, 4, seed=rows)[1] * scale
    whitened, mean, inverse = whiten(targets)
    torch.testing.assert_close(whitened @ inverse + mean, targets.double())


def test_whitened_targets_are_uncorrelated():
    targets = draw(500, 4)[1] @ torch.randn(4, 4, generator=torch.Generator().manual_seed(1))
    whitened = whiten(targets, floor=0.0).targets
    torch.testing.assert_close(whitened.mean(dim=0), torch.zeros(4, dtype=torch.float64))
    torch.testing.assert_close(whitened.T @ whitened / 500, torch.eye(4, dtype=torch.float64))


def test_one_column_by_hand():
    """Values 1 and 3: mean 2, variance 1; the root of 1 + 0.21 is 1.1."""
    whitened, mean, inverse = whiten(torch.tensor([[1.0], [3.0]]), floor=0.21)
    assert mean.item() == 2
    assert inverse.item() == pytest.approx(1.1)
    assert whitened.flatten().tolist() == pytest.approx([-1 / 1.1, 1 / 1.1])


def test_equal_targets_do_not_divide_by_zero():
    assert whiten(torch.full((3, 4), 0.5)).targets.eq(0).all()
