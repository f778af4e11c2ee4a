"""Ridge regression in closed form, and whitening: R-CNN's box regressors (appendix C).

Source: arXiv:1311.2524, eq. 5; its program (bbox_regression/rcnn_train_bbox_regressor.m), which
whitens the targets first; the paper does not say so.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

ROWS = 4096  # that are in float64 at a time


class Whitening(NamedTuple):
    """Targets without mean and without correlation, and the way back."""

    targets: Float[Tensor, "rows columns"]
    mean: Float[Tensor, " columns"]
    inverse: Float[Tensor, "columns columns"]  # whitened targets @ inverse + mean = targets


def whiten(targets: Float[Tensor, "rows columns"], floor: float = 0.001) -> Whitening:
    """Subtract the mean, multiply by the symmetric inverse square root of the covariance.

    Args:
        targets: at least one row.
        floor: added to the eigenvalues of the covariance before their root is taken.

    Returns:
        In float64.
    """
    targets = targets.double()
    mean = targets.mean(dim=0)
    centred = targets - mean
    eigenvalues, vectors = torch.linalg.eigh(centred.T @ centred / len(targets))
    root = (eigenvalues + floor).sqrt()
    return Whitening(centred @ (vectors / root) @ vectors.T, mean, (vectors * root) @ vectors.T)


def ridge_regression(
    features: Float[Tensor, "rows features"],
    targets: Float[Tensor, "rows columns"],
    penalty: float,
) -> Float[Tensor, "features columns"]:
    """The B that minimises |X B - Y|^2 + penalty |B|^2, each column of Y by itself.

    (X'X + penalty I)^-1 X'Y = X'(X X' + penalty I)^-1 Y: whichever of the two systems is the
    smaller one is solved. Nothing is left out of the penalty; a constant feature is the caller's.

    Args:
        features: X, in any precision.
        targets: Y.
        penalty: above 0.

    Returns:
        In float64.
    """
    targets, rows, columns = targets.double(), *features.shape
    system = torch.zeros(min(rows, columns), min(rows, columns), dtype=torch.float64)
    system.diagonal().add_(penalty)
    parts = features.split(ROWS)
    if columns <= rows:
        right = torch.zeros(columns, targets.shape[1], dtype=torch.float64)
        for part, wanted in zip(parts, targets.split(ROWS), strict=True):
            part = part.double()
            system.addmm_(part.T, part)
            right.addmm_(part.T, wanted)
        return _solve(system, right)
    whole = features.double()
    return whole.T @ _solve(system.addmm_(whole, whole.T), targets)


def _solve(
    system: Float[Tensor, "n n"], right: Float[Tensor, "n columns"]
) -> Float[Tensor, "n columns"]:
    return torch.cholesky_solve(right, torch.linalg.cholesky(system))
