"""Fast R-CNN's loss against eqs. 1-3 of arXiv:1504.08083."""

import math

import pytest
import torch

from lit_detseg.losses.fast_rcnn import fast_rcnn_losses


@pytest.mark.parametrize(
    ("error", "smooth_l1"),
    [
        pytest.param(0.0, 0.0, id="no error"),
        pytest.param(0.5, 0.5 * 0.5**2, id="|x| < 1: half the square"),
        pytest.param(1.0, 0.5, id="the two pieces meet at 1"),
        pytest.param(-3.0, 3.0 - 0.5, id="|x| > 1: linear, either sign"),
    ],
)
def test_box_loss_is_smooth_l1(error, smooth_l1):
    losses = fast_rcnn_losses(
        class_logits=torch.zeros(1, 3),
        offsets=torch.tensor([[[9.0] * 4, [error, 0.0, 0.0, 0.0], [9.0] * 4]]),  # class 1 counts
        labels=torch.tensor([1]),
        target_offsets=torch.zeros(1, 4),
    )
    assert losses["box_regression"].item() == pytest.approx(smooth_l1)


def test_background_has_no_box_loss_but_still_divides():
    """The Iverson bracket [u >= 1]; the mean is over all RoIs."""
    offsets, labels = torch.zeros(2, 3, 4), torch.tensor([0, 2])
    offsets[0], offsets[1, 2, 0] = 100.0, 2.0
    losses = fast_rcnn_losses(torch.zeros(2, 3), offsets, labels, torch.zeros(2, 4))
    assert losses["box_regression"].item() == pytest.approx((2.0 - 0.5) / 2)


def test_uniform_scores_cost_log_of_num_classes():
    losses = fast_rcnn_losses(
        torch.zeros(5, 21), torch.zeros(5, 21, 4), torch.arange(5), torch.zeros(5, 4)
    )
    assert losses["classification"].item() == pytest.approx(math.log(21))


def test_no_rois_cost_nothing():
    losses = fast_rcnn_losses(
        torch.zeros(0, 3),
        torch.zeros(0, 3, 4),
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, 4),
    )
    assert {name: value.item() for name, value in losses.items()} == {
        "classification": 0.0,
        "box_regression": 0.0,
    }


def test_beta_is_where_the_square_becomes_a_line():
    """|x| = 1/2 lies on the line when beta = 1/9: |x| - beta / 2."""
    offsets, target = torch.zeros(1, 2, 4), torch.zeros(1, 4)
    offsets[0, 1, 3] = 0.5
    losses = fast_rcnn_losses(torch.zeros(1, 2), offsets, torch.tensor([1]), target, beta=1 / 9)
    assert losses["box_regression"].item() == pytest.approx(0.5 - 1 / 18)


def test_targets_of_background_are_not_read():
    target = torch.full((1, 4), torch.inf)
    losses = fast_rcnn_losses(torch.zeros(1, 2), torch.zeros(1, 2, 4), torch.tensor([0]), target)
    assert losses["box_regression"].item() == 0
