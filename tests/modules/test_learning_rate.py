"""The learning rate at another total batch, against Goyal et al., section 2.1."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, OneCycleLR

from lit_detseg.modules.learning_rate import (
    WARMUP_FACTOR,
    WARMUP_STEPS,
    ScaledSchedule,
    learning_rate_rule,
)


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
    optimizer = make_optimizer(lr=0.1)
    rule = learning_rate_rule(2, 1, warmup_steps=4)
    schedule = ScaledSchedule(MultiStepLR(optimizer, milestones=[6], gamma=0.1), rule)

    rise = [WARMUP_FACTOR + (1 - WARMUP_FACTOR) * step / 4 for step in range(4)]
    expected = [0.2 * share for share in [*rise, 1, 1, 0.1, 0.1]]
    assert rates(optimizer, schedule, 8) == pytest.approx(expected)


def plain_and_scaled(make_schedule, total, steps):
    plain, scaled = make_optimizer(), make_optimizer()
    rule = learning_rate_rule(total, 4, warmup_steps=0)
    plain_rates = rates(plain, make_schedule(plain), steps)
    return plain_rates, rates(scaled, ScaledSchedule(make_schedule(scaled), rule), steps)


SCHEDULES = {
    "from the last rate": lambda optimizer: MultiStepLR(optimizer, [2, 5], gamma=0.1),
    "from the step alone": lambda optimizer: OneCycleLR(optimizer, max_lr=0.5, total_steps=9),
    "a cosine": lambda optimizer: CosineAnnealingLR(optimizer, T_max=9),
}


@pytest.mark.parametrize("make_schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_every_kind_of_schedule_is_scaled_at_every_step(make_schedule):
    plain, scaled = plain_and_scaled(make_schedule, total=12, steps=8)
    assert scaled == pytest.approx([3 * rate for rate in plain])


@pytest.mark.parametrize("make_schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_at_the_recipe_s_own_batch_the_rates_are_its_own_to_the_last_bit(make_schedule):
    plain, scaled = plain_and_scaled(make_schedule, total=4, steps=8)
    assert scaled == plain


@pytest.mark.parametrize("make_schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_a_continued_schedule_goes_on_scaled_by_the_batch_of_the_new_run(make_schedule):
    first, second = make_optimizer(), make_optimizer()
    schedule = ScaledSchedule(make_schedule(first), learning_rate_rule(8, 4, 0))
    seen = rates(first, schedule, 4)
    continued = ScaledSchedule(make_schedule(second), learning_rate_rule(16, 4, 0))
    second.load_state_dict(first.state_dict())
    continued.load_state_dict(schedule.state_dict())

    seen += [rate / 2 for rate in rates(second, continued, 4)]  # 16 images instead of 8
    _, whole = plain_and_scaled(make_schedule, total=8, steps=8)
    assert seen == pytest.approx(whole)


def test_the_sentence_names_both_batches():
    assert "64 images per step; the recipe states it for 16" in (
        learning_rate_rule(64, 16, 0).sentence
    )
