"""FCIS's three terms, worked out by hand, with both balances."""

import math

import pytest
import torch

from lit_detseg.losses.fcis import fcis_losses, losses_of_rois


def nats(logit, *others):
    """-log of the softmax of the first."""
    return math.log(sum(math.exp(other) for other in (logit, *others))) - logit


# Two RoIs of 2 x 2 cells, the background and one class. All cells of a map are alike.
#                outside, inside of the background; of the class
SCORES = [[[0.5, -1.0], [1.0, 2.0]], [[0.0, 1.0], [-1.0, -2.0]]]
LABELS = torch.tensor([1, 0])
OFFSETS = torch.tensor([[0.0, 0.0, 1.0, 1.0], [9.0, 9.0, 9.0, 9.0]])
TARGETS = torch.tensor([[0.5, 2.0, 1.0, 1.0], [math.inf] * 4])
INSIDE = torch.tensor([[[True, False], [True, True]], [[True, True], [False, False]]])

CLASSIFICATION = nats(2.0, 0.5) + nats(1.0, -1.0)
MASK = (3 * nats(2.0, 1.0) + nats(1.0, 2.0)) / 4  # the first RoI alone
BOX = 0.5 * 0.5**2 + (2.0 - 0.5)  # likewise: the square below 1, the line above


def losses(**settings):
    scores = torch.tensor(SCORES)[..., None, None].expand(2, 2, 2, 2, 2)
    values = fcis_losses(scores, OFFSETS, LABELS, TARGETS, INSIDE, **settings)
    return {name: value.item() for name, value in values.items()}


def test_the_paper_weighs_all_alike_over_the_rois():
    assert losses() == pytest.approx(
        {"classification": CLASSIFICATION / 2, "mask": MASK / 2, "box_regression": BOX / 2}
    )


def test_the_released_code_weighs_masks_by_10_over_a_fixed_number():
    expected = {
        "classification": CLASSIFICATION / 2,
        "mask": 10 * MASK / 128,
        "box_regression": BOX / 128,
    }
    assert losses(balance="released_code") == pytest.approx(expected)


def test_masks_of_other_classes_and_of_the_background_get_no_gradient():
    scores = torch.zeros(2, 3, 2, 1, 1, requires_grad=True)
    inside = torch.ones(2, 1, 1, dtype=torch.bool)
    labels, nothing = torch.tensor([2, 0]), torch.zeros(2, 4)
    losses_of_rois(scores, nothing, labels, nothing, inside).mask.sum().backward()
    expected = torch.zeros(2, 3, 2, 1, 1)
    expected[0, 2, :, 0, 0] = torch.tensor([0.5, -0.5])  # of -log softmax of inside, both alike
    torch.testing.assert_close(scores.grad, expected)


@pytest.mark.parametrize(
    ("balance", "kept"),
    [
        pytest.param("paper", 0, id="paper: classification 3 beats mask 2"),
        pytest.param("released_code", 1, id="released: ten times the mask beats all"),
    ],
)
def test_hard_examples_are_those_of_largest_weighted_loss(balance, kept):
    """RoI 0 is an object taken for background, RoI 1 drawn all wrong, RoI 2 is easy."""
    scores = torch.zeros(3, 2, 2, 1, 1, requires_grad=True)
    with torch.no_grad():
        scores[0, 0] = 3.0
        scores[1, 1, 0] = 2.0
        scores[2, 1, 1] = 5.0
    inside = torch.ones(3, 1, 1, dtype=torch.bool)
    nothing, labels = torch.zeros(3, 4), torch.ones(3, dtype=torch.int64)
    each = losses_of_rois(scores, nothing, labels, nothing, inside)

    found = fcis_losses(
        scores, nothing, labels, nothing, inside, balance, num_samples=1, hard_examples=True
    )

    weight = 10 if balance == "released_code" else 1
    assert found["classification"].item() == pytest.approx(each.classification[kept].item())
    assert found["mask"].item() == pytest.approx(weight * each.mask[kept].item())
    torch.stack(list(found.values())).sum().backward()
    assert scores.grad.abs().sum(dim=(1, 2, 3, 4)).nonzero().flatten().tolist() == [kept]


@pytest.mark.parametrize("hard_examples", [False, True])
@pytest.mark.parametrize("balance", ["paper", "released_code"])
def test_no_rois_cost_nothing_and_have_a_gradient(balance, hard_examples):
    scores = torch.zeros(0, 3, 2, 4, 4, requires_grad=True)
    offsets = torch.zeros(0, 4, requires_grad=True)
    labels, inside = torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4, 4, dtype=torch.bool)
    values = fcis_losses(
        scores, offsets, labels, torch.zeros(0, 4), inside, balance, hard_examples=hard_examples
    )
    torch.stack(list(values.values())).sum().backward()
    assert [value.item() for value in values.values()] == [0, 0, 0]
    assert scores.grad is not None
    assert offsets.grad is not None
