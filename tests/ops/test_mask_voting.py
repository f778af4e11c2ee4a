"""Mask voting in boxes so small that a cell is a pixel: worked out by hand."""

import pytest
import torch

from lit_detseg.ops.mask_voting import vote_masks

FULL = torch.ones(4, 4)
LEFT = torch.tensor([1.0, 1, 0, 0]).expand(4, 4)
BOX = [2.0, 1, 6, 5]  # 4 x 4 pixels


def vote(boxes, masks, scores, chosen=(0,), classes=(0,), **settings):
    return vote_masks(
        torch.tensor(boxes),
        torch.stack(masks),
        torch.tensor(scores),
        torch.tensor(chosen),
        torch.tensor(classes),
        **settings,
    )


def test_masks_are_weighted_by_the_scores_of_the_class():
    """Votes 0.6 and 0.2: shares 3 / 4 and 1 / 4 in class 0, 1 / 4 and 3 / 4 in class 1."""
    boxes, cells, drawn = vote(
        [BOX, BOX], [FULL, LEFT], [[0.6, 0.1], [0.2, 0.3]], chosen=(0, 0), classes=(0, 1)
    )
    assert drawn.tolist() == [True, True]
    # In class 0 the right half still reaches 0.4; in class 1 it does not, and the box shrinks.
    assert boxes.tolist() == [BOX, [2, 1, 4, 5]]
    torch.testing.assert_close(cells[0, 0], torch.tensor([1.0, 1, 0.75, 0.75]))
    torch.testing.assert_close(cells[1], FULL)


def test_only_those_that_overlap_have_a_vote():
    """IoU of the box and its neighbour 2 pixels to the right: 8 / 24; 1 pixel: 12 / 20."""
    scores = [[0.5], [0.5], [0.5]]
    near, far = [3.0, 1, 7, 5], [4.0, 1, 8, 5]
    boxes, cells, _ = vote([BOX, near, far], [FULL, FULL, FULL], scores)
    assert boxes.tolist() == [[2, 1, 7, 5]]
    # Five columns with the shares 1/2, 1, 1, 1, 1/2, seen at 1/8, 11/8, 21/8, 31/8 of them.
    torch.testing.assert_close(cells[0, 0], torch.tensor([0.5625, 1, 1, 0.5625]))
    boxes, *_ = vote([BOX, near, far], [FULL, FULL, FULL], scores, iou_threshold=0.3)
    assert boxes.tolist() == [[3, 1, 7, 5]]  # shares 1/3, 2/3, 1, 1, 2/3, 1/3, cut at 0.4


def test_voters_are_cut_at_the_threshold_before_they_vote():
    weak, strong = torch.full((4, 4), 0.39), torch.full((4, 4), 0.4)
    _, _, drawn = vote([BOX, BOX], [weak, weak], [[0.5], [0.5]])
    assert drawn.tolist() == [False]
    _, cells, drawn = vote([BOX, BOX], [weak, strong], [[0.5], [0.5]])
    assert drawn.tolist() == [True]
    torch.testing.assert_close(cells[0], FULL / 2)


def test_corners_of_voters_are_rounded_to_pixels():
    boxes, *_ = vote([[1.6, 1.4, 6.4, 4.5]], [FULL], [[0.5]])
    assert boxes.tolist() == [[2, 1, 6, 5]]


def test_nothing_chosen_is_nothing_drawn():
    none = torch.zeros(0, dtype=torch.int64)
    boxes, cells, drawn = vote_masks(
        torch.zeros(0, 4), torch.zeros(0, 4, 4), torch.zeros(0, 2), none, none
    )
    assert boxes.shape == (0, 4)
    assert cells.shape == (0, 4, 4)
    assert drawn.shape == (0,)


@pytest.mark.parametrize("side", [8, 40])
def test_a_mask_that_votes_alone_is_drawn_as_it_is(side):
    """A disc in 8 cells, in a box of a pixel or more a cell: tight around, and as large."""
    y, x = torch.meshgrid(torch.arange(8) + 0.5, torch.arange(8) + 0.5, indexing="ij")
    disc = ((x - 4).square() + (y - 4).square() < 9).float()
    boxes, cells, _ = vote([[0.0, 0, side, side]], [disc], [[0.5]])
    cell = side / 8
    expected = torch.tensor([[1.0, 1, 7, 7]]) * cell
    assert (boxes - expected).abs().max() <= cell / 2
    assert cells[0, 4, 4] == 1
    assert cells[0, 0, 0] == 0


def test_half_precision_does_not_move_the_border():
    """0.3995 is below the threshold of 0.4; the nearest bfloat16 is 0.4004."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, _, drawn = vote([BOX], [torch.full((4, 4), 0.3995)], [[0.5]])
    assert drawn.tolist() == [False]
