"""Recall of proposals against counts worked by hand, on one rank and on two."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_detseg.errors import UserError
from lit_detseg.metrics.proposal_recall import ProposalRecall
from tests.metrics.drawn import DrawnImage, image_sets, random_images, update
from tests.metrics.ranks import count_collectives, results_of_ranks

SQUARE = [0.0, 0, 10, 10]
OBJECTS = [(SQUARE, 0, 100.0, False, False), ([20.0, 0, 30, 10], 2, 100.0, False, False)]
# IoU with the two objects: 0.6 (first), none, 0.8 (second).
FOUND = [
    ([0.0, 0, 10, 6], 0, 0.9),
    ([50.0, 50, 60, 60], 0, 0.8),
    ([20.0, 0, 30, 8], 0, 0.7),
]


def recall(*images, **options):
    metric = ProposalRecall(**options)
    update(metric, images)
    return {name: value.item() for name, value in metric.compute().items()}


def test_recall_grows_with_proposals_and_falls_with_the_threshold():
    found = recall(DrawnImage("a", FOUND, OBJECTS), limits=(1, 2, 3), iou_thresholds=(0.5, 0.7))
    assert found == {
        "recall_50_at_1": 0.5,  # the first object, IoU 0.6
        "recall_70_at_1": 0.0,
        "recall_50_at_2": 0.5,
        "recall_70_at_2": 0.0,
        "recall_50_at_3": 1.0,
        "recall_70_at_3": 0.5,  # the second object, IoU 0.8
    }


def test_an_iou_at_the_threshold_counts():
    half = DrawnImage("a", [([0.0, 0, 10, 5], 0, 0.9)], OBJECTS[:1])
    assert recall(half, limits=[1], iou_thresholds=[0.5]) == {"recall_50_at_1": 1.0}


def test_objects_of_all_images_count_alike_whatever_their_class():
    images = DrawnImage("a", FOUND, OBJECTS), DrawnImage("b", [], OBJECTS[:1])
    assert recall(*images, limits=[3], iou_thresholds=[0.5])["recall_50_at_3"] == 2 / 3


def test_crowds_and_difficult_objects_are_not_sought():
    crowd, hard = (SQUARE, 0, 1.0, True, False), (SQUARE, 0, 1.0, False, True)
    image = DrawnImage("a", [], [crowd, hard])
    assert all(np.isnan(value) for value in recall(image).values())


def test_an_image_seen_twice_counts_once():
    image = DrawnImage("a", FOUND, OBJECTS)
    metric = ProposalRecall()
    for _ in range(2):
        update(metric, [image])
    assert metric.compute()["recall_50_at_300"] == 1
    assert metric.num_images == 1
    metric.reset()
    assert metric.compute()["recall_50_at_300"].isnan()
    assert metric.num_images == 0


def test_one_proposal_may_find_several_objects():
    image = DrawnImage("a", FOUND[:1], [OBJECTS[0], ([0.0, 0, 10, 5], 1, 50.0, False, False)])
    assert recall(image, limits=[1], iou_thresholds=[0.5]) == {"recall_50_at_1": 1.0}


@given(image_sets, st.integers(0, 6))
def test_two_ranks_hold_what_one_holds(images, cut):
    """The exchange itself is tested with real ranks below; here: counts add up, in any order."""
    whole, reverse = ProposalRecall(limits=(1, 2)), ProposalRecall(limits=(1, 2))
    update(whole, images)
    update(reverse, images[cut:])
    update(reverse, images[:cut])
    for name, value in whole.compute().items():
        torch.testing.assert_close(reverse.compute()[name], value, equal_nan=True)


def test_two_real_ranks_say_what_one_says_in_two_collectives(tmp_path):
    images = random_images(seed=0, count=7)

    def on_rank(rank):
        metric = ProposalRecall(limits=(5, 20))
        update(metric, images[:5] if rank == 0 else images[4:])  # one image on both
        counter = count_collectives()
        scores = metric.compute()
        return {**scores, "images": metric.num_images, "collectives": counter.total()}

    alone = ProposalRecall(limits=(5, 20))
    update(alone, images)
    expected = {**alone.compute(), "images": 7, "collectives": 2}
    for of_rank in results_of_ranks(on_rank, 2, tmp_path):
        assert of_rank == expected


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"limits": ()}, id="no limit"),
        pytest.param({"limits": (0,)}, id="no proposal"),
        pytest.param({"iou_thresholds": (50,)}, id="percent"),
    ],
)
def test_settings_that_mean_nothing_are_refused(options):
    with pytest.raises(UserError):
        ProposalRecall(**options)
