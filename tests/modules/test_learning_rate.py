"""The learning rate at another total batch, against Goyal et al., section 2.1."""

import pytest
import torch
from torch.optim.lr_scheduler import MultiStepLR

from lit_detseg.modules.learning_rate import WARMUP_FACTOR, WARMUP_STEPS, learning_rate_rule


def make_optimizer(lr=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(optimizer, schedule, steps):
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize(
    ("total", "reference", "factor", "warmup"),
    [
        pytest.param(16, 16, 1.0, 0, id="the recipe's own batch: untouched"),
        pytest.param(64, 16, 4.0, WARMUP_STEPS, id="four times the images, four times the rate"),
        pytest.param(4, 16, 0.25, WARMUP_STEPS, id="a quarter"),
        pytest.param(4, None, 1.0, 0, id="no reference: nothing to scale by"),
        pytest.param(None, 16, 1.0, 0, id="nobody knows the batch"),
    ],
)
def test_the_rate_follows_the_batch_linearly(total, reference, factor, warmup):
    rule = learning_rate_rule(total, reference, None)
    assert (rule.factor, rule.warmup_steps) == (factor, warmup)


def test_warm_up_rises_linearly_and_the_recipe_s_drop_stays_where_it_was():
    rule = learning_rate_rule(2, 1, warmup_steps=4)
    optimizer = make_optimizer(lr=0.1)
    rule.apply(optimizer)
    schedule = rule.warm_up(optimizer, MultiStepLR(optimizer, milestones=[6], gamma=0.1))

    rise = [WARMUP_FACTOR + (1 - WARMUP_FACTOR) * step / 4 for step in range(4)]
    expected = [0.2 * share for share in [*rise, 1, 1, 0.1, 0.1]]
    assert rates(optimizer, schedule, 8) == pytest.approx(expected)


def test_without_warm_up_the_schedule_is_the_recipe_s_own():
    optimizer = make_optimizer()
    schedule = MultiStepLR(optimizer, milestones=[2], gamma=0.1)
    assert learning_rate_rule(8, 8, None).warm_up(optimizer, schedule) is schedule


def test_the_sentence_names_both_batches():
    assert "64 images per step; the recipe states it for 16" in (
        learning_rate_rule(64, 16, 0).sentence
    )
