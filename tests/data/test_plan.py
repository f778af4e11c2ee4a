"""People are told what an epoch will read."""

import numpy as np
import pytest

from lit_detseg.data.order import TrainingOrder
from lit_detseg.data.plan import plan_lines, training_plan
from lit_detseg.structures import UserError


def test_a_plan_worked_out_by_hand():
    order = TrainingOrder((10, 10, 3), 4, seed=7, shuffle_window=2, accumulate=2)
    assert plan_lines(training_plan(order, ranks=2)) == [
        "images: 23",
        "shards: 3",
        "steps: 4 of 4 images over all ranks; 2 make an optimiser step of 8",
        "ranks: 2, each reads 2 images of a step",
        "tail: 7 left out of each epoch, others every time",
        "order: seed 7, shuffled in windows of 2 shards",
    ]


def test_sampling_and_grouping_are_told():
    order = TrainingOrder(
        (4, 4),
        5,
        tail="wrap",
        copies=np.array([1, 1, 1, 1, 1, 1, 1.5, 1.5]),
        sampling="RepeatFactor(threshold=0.1)",
        groups=np.array([0, 0, 0, 1, 1, 1, 1, 1]),
    )
    plan = training_plan(order, ranks=1)
    assert (plan.images, plan.images_per_epoch, plan.steps) == (8, 9, 3)  # of 3 and 6 images
    assert (plan.dropped, plan.repeated) == (0, 15 - 9)
    assert plan_lines(plan)[-2:] == [
        "sampling: RepeatFactor(threshold=0.1) lists 9 images an epoch",
        "grouping: each optimiser step shows images of one orientation",
    ]
    assert "tail: the first of each orientation fill up its last step, 6 in all" in plan_lines(plan)


def test_ranks_that_cannot_share_a_step_are_refused():
    with pytest.raises(UserError, match="cannot be shared by 3 processes"):
        training_plan(TrainingOrder((8,), 4), ranks=3)
