"""Mask R-CNN's mask loss, and the competing one of its ablation, worked out by hand."""

import math

import pytest
import torch

from lit_detseg.losses.mask import competing_mask_loss, mask_loss


def sigmoid_nats(logit, target):
    """-log of the probability of the truth."""
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if target else 1 - probability)


def test_cells_and_rois_are_averaged_on_the_true_class_alone():
    """Two RoIs of 1 x 2 cells... as 2 x 2 with equal rows; channel of class 1, then of class 0."""
    logits = torch.full((2, 2, 2, 2), 9.0)
    logits[0, 1] = torch.tensor([[2.0, -1.0], [2.0, -1.0]])
    logits[1, 0] = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    targets = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]])

    loss = mask_loss(logits, torch.tensor([1, 0]), targets)

    first = (sigmoid_nats(2.0, 1) + sigmoid_nats(-1.0, 0)) / 2
    assert loss.item() == pytest.approx((first + math.log(2)) / 2)


def test_masks_of_other_classes_get_no_gradient():
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    mask_loss(logits, torch.tensor([1]), torch.ones(1, 2, 2)).backward()
    # d/dx of -log sigmoid(x) at 0 is -1/2, over four cells.
    expected = torch.zeros(1, 3, 2, 2)
    expected[0, 1] = -0.5 / 4
    torch.testing.assert_close(logits.grad, expected)


def test_a_resampled_target_may_be_a_fraction():
    loss = mask_loss(torch.zeros(1, 1, 1, 1), torch.tensor([0]), torch.full((1, 1, 1), 0.3))
    assert loss.item() == pytest.approx(math.log(2))


def test_competing_classes_share_one_softmax():
    """Background, class 0, class 1; the object of class 1 fills the left of two cells."""
    logits = torch.tensor([[[[0.0, 0.0]], [[1.0, 1.0]], [[2.0, 2.0]]]]).expand(1, 3, 2, 2)
    targets = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])

    loss = competing_mask_loss(logits, torch.tensor([1]), targets)

    total = math.exp(0) + math.exp(1) + math.exp(2)
    inside, outside = -math.log(math.exp(2) / total), -math.log(1 / total)
    assert loss.item() == pytest.approx((inside + outside) / 2)


def test_half_a_cell_belongs_to_the_object():
    logits = torch.zeros(1, 2, 1, 1, requires_grad=True)
    competing_mask_loss(logits, torch.tensor([0]), torch.full((1, 1, 1), 0.5)).backward()
    assert logits.grad.flatten().tolist() == [0.5, -0.5]


@pytest.mark.parametrize("loss", [mask_loss, competing_mask_loss])
def test_no_rois_cost_nothing_and_have_a_gradient(loss):
    logits = torch.zeros(0, 3, 4, 4, requires_grad=True)
    value = loss(logits, torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4, 4))
    value.backward()
    assert value.item() == 0
    assert logits.grad is not None
