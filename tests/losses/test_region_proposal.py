"""The loss of the region proposal network against eq. 1 of arXiv:1506.01497."""

import math

import pytest
import torch
from torch.nn import functional as F

from lit_detseg.losses.region_proposal import region_proposal_losses


def losses_of(objectness, offsets, labels, targets, locations, balance="paper"):
    """One image."""
    losses = region_proposal_losses(
        torch.tensor([objectness]),
        torch.tensor([offsets]),
        torch.tensor([labels]),
        torch.tensor([targets]),
        torch.tensor([locations]),
        balance,
    )
    return losses["rpn_objectness"].item(), losses["rpn_box"].item()


ZERO = [0.0] * 4


def test_undecided_objectness_costs_log_2_per_sampled_anchor():
    objectness, _ = losses_of([0.0] * 3, [ZERO] * 3, [1, 0, -1], [ZERO] * 3, 10)
    assert objectness == pytest.approx(math.log(2))


def test_one_logit_is_the_softmax_of_two():
    """Two logits (b, f) of the paper's softmax are one logit f - b here."""
    pair = torch.tensor([[0.3, 1.1]])
    softmax = F.cross_entropy(pair, torch.tensor([1])).item()
    objectness, _ = losses_of([1.1 - 0.3], [ZERO], [1], [ZERO], 10)
    assert objectness == pytest.approx(softmax)


def test_an_unsampled_anchor_neither_costs_nor_divides():
    wrong = 50.0  # on background: costs 50 nats
    objectness, box = losses_of(
        [wrong, wrong], [ZERO, [9.0] * 4], [0, -1], [ZERO, ZERO], 10, "released_code"
    )
    assert objectness == pytest.approx(50.0)
    assert box == 0


@pytest.mark.parametrize(
    ("error", "balance", "expected"),
    [
        # two anchors sampled, 240 locations
        pytest.param(0.5, "paper", 10 / 240 * 0.5 * 0.5**2, id="paper: square below 1"),
        pytest.param(-3.0, "paper", 10 / 240 * (3 - 0.5), id="paper: line above 1"),
        pytest.param(0.1, "released_code", 9 * 0.5 * 0.1**2 / 2, id="code: square below 1/9"),
        pytest.param(3.0, "released_code", (3 - 0.5 / 9) / 2, id="code: line above 1/9"),
    ],
)
def test_box_loss_and_its_divisor(error, balance, expected):
    offsets = [[error, 0.0, 0.0, 0.0], [7.0] * 4]  # the second is background
    _, box = losses_of([0.0, 0.0], offsets, [1, 0], [ZERO, ZERO], 240, balance)
    assert box == pytest.approx(expected)


def test_both_balances_weigh_the_box_term_alike_at_the_papers_size():
    """Lambda / N_reg = 10 / 2400 = 1/240 against 1/256, for errors far out on the line."""
    _, paper = losses_of([0.0] * 256, [[90.0] * 4] * 256, [1] * 256, [ZERO] * 256, 2400)
    _, code = losses_of(
        [0.0] * 256, [[90.0] * 4] * 256, [1] * 256, [ZERO] * 256, 2400, "released_code"
    )
    assert paper / code == pytest.approx(256 / 240, rel=0.01)


@pytest.mark.parametrize("balance", ["paper", "released_code"])
def test_nothing_sampled_costs_nothing_and_still_has_gradients(balance):
    objectness = torch.zeros(2, 3, requires_grad=True)
    offsets = torch.zeros(2, 3, 4, requires_grad=True)
    losses = region_proposal_losses(
        objectness,
        offsets,
        torch.full((2, 3), -1),
        torch.full((2, 3, 4), torch.nan),  # not read
        torch.tensor([0, 0]),
        balance,
    )
    sum(losses.values()).backward()
    assert [value.item() for value in losses.values()] == [0.0, 0.0]
    assert objectness.grad.abs().sum() == 0
    assert offsets.grad.abs().sum() == 0


def test_an_image_counts_the_same_however_many_anchors_it_has():
    """Mean of the images' means: (log 2 over 1 anchor + 0 over 3 anchors) / 2."""
    objectness = torch.tensor([[0.0, 0.0, 0.0], [-90.0, -90.0, -90.0]])
    losses = region_proposal_losses(
        objectness,
        torch.zeros(2, 3, 4),
        torch.tensor([[0, -1, -1], [0, 0, 0]]),
        torch.zeros(2, 3, 4),
        torch.tensor([10, 10]),
    )
    assert losses["rpn_objectness"].item() == pytest.approx(math.log(2) / 2)
