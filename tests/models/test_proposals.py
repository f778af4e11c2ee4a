"""The region proposal network: which anchors it learns from, which boxes it proposes."""

import pytest
import torch

from lit_detseg.assignment.matching import Objects
from lit_detseg.models.proposals import (
    AnchorLearning,
    AnchorPredictions,
    AnchorSettings,
    ProposalSettings,
    RegionProposalNetwork,
)
from lit_detseg.ops.anchors import grid_keys
from lit_detseg.structures import UserError
from tests.tiny_detection import make_images, make_target

ANCHORS = AnchorSettings(sizes=((8.0,), (16.0,)), aspect_ratios=(1.0,))
NO_OBJECTS = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))


def network(**settings):
    return RegionProposalNetwork(8, (4, 8), 16, anchors=ANCHORS, **settings)


def predictions_of(boxes, scores, per_level=None):
    """One image whose anchors, not adjusted, are these boxes."""
    anchors = torch.tensor(boxes, dtype=torch.float32)
    return AnchorPredictions(
        objectness=torch.tensor([scores]),
        offsets=torch.zeros(1, len(anchors), 4),
        anchors=anchors,
        keys=torch.arange(len(anchors)),
        per_level=per_level or [len(anchors)],
    )


def propose(predictions, training=False, **settings):
    rpn = network(proposals=ProposalSettings(**{"min_side": 1.0, **settings}))
    return rpn.propose(predictions, torch.tensor([[100, 100]]), training)[0].tolist()


FAR_APART = [[0.0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]]


def test_proposals_come_best_first_and_are_cut_at_the_border():
    boxes = [[0.0, 0, 10, 10], [90.0, 90, 120, 120]]
    assert propose(predictions_of(boxes, [1.0, 2.0])) == [[90, 90, 100, 100], [0, 0, 10, 10]]


def test_small_proposals_are_dropped_before_the_best_are_chosen():
    """The best box is too small once clipped; it does not use up the only place."""
    boxes = [[95.0, 0, 200, 10], [0, 0, 10, 10]]
    assert propose(predictions_of(boxes, [9.0, 1.0]), before_nms=1, min_side=6.0) == [
        [0, 0, 10, 10]
    ]


def test_proposals_suppress_each_other_within_their_map_only():
    boxes = [[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10]]
    assert len(propose(predictions_of(boxes, [3.0, 2.0, 1.0]))) == 1
    assert len(propose(predictions_of(boxes, [3.0, 2.0, 1.0], per_level=[2, 1]))) == 2


def test_counts_differ_with_and_without_targets():
    limits = {
        "training_before_nms": 4,
        "training_after_nms": 3,
        "before_nms": 2,
        "after_nms": 9,
    }
    predictions = predictions_of(FAR_APART, [1.0, 2.0, 3.0, 4.0])
    assert [box[0] for box in propose(predictions, True, **limits)] == [60, 40, 20]
    assert [box[0] for box in propose(predictions, False, **limits)] == [60, 40]


def test_each_map_sends_its_best_into_nms():
    predictions = predictions_of(FAR_APART, [1.0, 2.0, 3.0, 4.0], per_level=[2, 2])
    assert [box[0] for box in propose(predictions, before_nms=1)] == [60, 20]


def test_no_proposal_at_all_is_no_error():
    assert propose(predictions_of(FAR_APART, [1.0] * 4), min_side=50.0) == []


def test_proposals_are_constants():
    rpn = network(proposals=ProposalSettings(min_side=0.0))
    predictions = rpn([torch.rand(1, 8, 4, 4), torch.rand(1, 8, 2, 2)])
    (boxes,) = rpn.propose(predictions, torch.tensor([[16, 16]]), training=True)
    assert predictions.objectness.requires_grad
    assert not boxes.requires_grad


def drawn_anchors(grid, image_size, seed=3, **learning):
    """Coordinates of the anchors that an image without objects learns from."""
    rpn = network(learning=AnchorLearning(num_samples=12, **learning))
    features = [torch.zeros(1, 8, *grid), torch.zeros(1, 8, grid[0] // 2, grid[1] // 2)]
    predictions = rpn(features)
    places, labels, _ = rpn._draw_samples(
        predictions, NO_OBJECTS, torch.tensor(image_size), torch.tensor(seed)
    )
    return sorted(predictions.anchors[places[labels == 0]].tolist())


@pytest.mark.parametrize("ignore_crossing", [True, False])
def test_padding_does_not_change_which_anchors_are_drawn(ignore_crossing):
    """An image of 32 x 40 pixels alone, or next to one of 48 x 80."""
    alone = drawn_anchors((8, 10), [32, 40], ignore_crossing=ignore_crossing)
    padded = drawn_anchors((12, 20), [32, 40], ignore_crossing=ignore_crossing)
    assert alone == padded
    assert len(alone) == 12
    assert alone != drawn_anchors((8, 10), [32, 40], seed=4, ignore_crossing=ignore_crossing)


def test_anchors_across_the_border_of_the_image_are_not_drawn():
    """Not those across the border of the batch, which is wider."""
    for box in drawn_anchors((8, 10), [32, 24]):
        assert box[0] >= 0
        assert box[1] >= 0
        assert box[2] <= 24
        assert box[3] <= 32


def test_the_paper_divides_by_the_locations_of_the_image_itself():
    """30 x 50 pixels: 8 x 13 cells of stride 4 and 4 x 7 of stride 8."""
    rpn = network()
    assert rpn._count_locations(torch.tensor([[30, 50], [4, 8]])).tolist() == [8 * 13 + 28, 3]


def test_losses_of_one_image_by_hand():
    """Two anchors of a map, one on the object and one beside it; nothing is adjusted yet.

    The object is as wide as the anchor and 1.25 times as high, from the same corner: IoU 0.8,
    t_y = 1 / 8, t_h = log 1.25.
    """
    predictions = predictions_of([[0.0, 0, 8, 8], [40, 40, 48, 48]], [0.0, 0.0])
    target = make_target([[0.0, 0, 8, 10]], [0])
    losses = network().compute_losses(predictions, make_images([(64, 64)]), [target])

    t_h = torch.tensor(1.25).log().item()
    locations = 16 * 16 + 8 * 8
    expected = 10 / locations * 0.5 * (0.125**2 + t_h**2)
    assert losses["rpn_objectness"].item() == pytest.approx(0.693147, rel=1e-5)
    assert losses["rpn_box"].item() == pytest.approx(expected, rel=1e-5)


def test_keys_follow_the_maps():
    predictions = network()([torch.zeros(1, 8, 4, 6), torch.zeros(1, 8, 2, 3)])
    expected = torch.cat([grid_keys((4, 6), 1, 0), grid_keys((2, 3), 1, 1)])
    assert torch.equal(predictions.keys, expected)
    assert predictions.per_level == [24, 6]
    assert predictions.anchors[24].tolist() == [-4.0, -4.0, 12.0, 12.0]  # 16 pixels around (4, 4)


def test_anchor_sizes_that_do_not_fit_the_maps_are_explained():
    with pytest.raises(UserError, match=r"maps of strides \[16\].*one list of sizes for each map"):
        RegionProposalNetwork(8, (16,), anchors=ANCHORS)
