"""Learning rates and weight decay of single parameters: the step that is taken, worked by hand."""

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import MultiStepLR, OneCycleLR

from lit_detseg.errors import UserError
from lit_detseg.modules.learning_rate import ScaledSchedule, learning_rate_rule
from lit_detseg.modules.parameter_groups import GroupSettings, parameter_groups

LR, DECAY, MOMENTUM = 0.1, 0.01, 0.9
AS_RECIPE = learning_rate_rule(None, None, None)


def make_model():
    """An old layer and a new one; every value is 1."""
    model = nn.ModuleDict({"old": nn.Linear(1, 1), "fc8": nn.Linear(1, 1)})
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return model


def make_optimizer(model, settings, make_schedule=lambda o: MultiStepLR(o, [1000])):
    groups = parameter_groups(model, settings)
    optimizer = torch.optim.SGD(groups.parameters, LR, momentum=MOMENTUM, weight_decay=DECAY)
    return optimizer, ScaledSchedule(make_schedule(optimizer), AS_RECIPE, groups.factors)


def take_step(model, optimizer, schedule, gradient=1.0):
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient) if parameter.requires_grad else None
    optimizer.step()
    schedule.step()


def values(model):
    return {name: parameter.item() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        pytest.param(
            GroupSettings(),
            # lr (gradient + decay x value), the same for all
            dict.fromkeys(("old.weight", "old.bias", "fc8.weight", "fc8.bias"), 0.1 * 1.01),
            id="nothing said: all alike",
        ),
        pytest.param(
            GroupSettings(bias_lr_factor=2, bias_weight_decay=False),
            {
                "old.weight": 0.1 * 1.01,
                "old.bias": 0.2 * 1.0,
                "fc8.weight": 0.1 * 1.01,
                "fc8.bias": 0.2 * 1.0,
            },
            id="Fast R-CNN's prototxt: lr_mult 1 and 2, decay_mult 1 and 0",
        ),
        pytest.param(
            GroupSettings(bias_lr_factor=2, lr_factors={"fc8": 10}),
            {
                "old.weight": 0.1 * 1.01,
                "old.bias": 0.2 * 1.01,
                "fc8.weight": 1.0 * 1.01,
                "fc8.bias": 2.0 * 1.01,
            },
            id="R-CNN's fc8: lr_mult 10 and 20",
        ),
        pytest.param(
            GroupSettings(lr_factors={"fc8": 3, "fc8.bias": 0}),
            {
                "old.weight": 0.1 * 1.01,
                "old.bias": 0.1 * 1.01,
                "fc8.weight": 0.3 * 1.01,
                "fc8.bias": 0,
            },
            id="the longer name counts",
        ),
    ],
)
def test_the_first_step_is_the_one_worked_by_hand(settings, expected):
    model = make_model()
    take_step(model, *make_optimizer(model, settings))
    taken = {name: 1 - value for name, value in values(model).items()}
    assert taken == pytest.approx(expected)


def test_a_drop_of_the_schedule_reaches_every_group():
    model = make_model()
    settings = GroupSettings(bias_lr_factor=2)
    optimizer, schedule = make_optimizer(model, settings, lambda o: MultiStepLR(o, [1], gamma=0.1))
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.2])
    take_step(model, optimizer, schedule)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.02])


def test_a_schedule_that_states_one_rate_for_all_is_multiplied_too():
    model = make_model()

    def one_cycle(optimizer):
        return OneCycleLR(optimizer, max_lr=0.5, total_steps=9)

    optimizer, schedule = make_optimizer(model, GroupSettings(bias_lr_factor=2), one_cycle)
    for _ in range(8):
        weights, biases = (group["lr"] for group in optimizer.param_groups)
        assert biases == pytest.approx(2 * weights)
        take_step(model, optimizer, schedule)


def test_a_continued_run_takes_the_steps_of_one_that_was_not_interrupted():
    settings = GroupSettings(bias_lr_factor=2, bias_weight_decay=False, lr_factors={"fc8": 10})

    def drop(optimizer):
        return MultiStepLR(optimizer, [3], gamma=0.1)

    whole = make_model()
    optimizer, schedule = make_optimizer(whole, settings, drop)
    for step in range(4):
        take_step(whole, optimizer, schedule, gradient=step)

    first, second = make_model(), make_model()
    optimizer, schedule = make_optimizer(first, settings, drop)
    for step in range(2):
        take_step(first, optimizer, schedule, gradient=step)
    second.load_state_dict(first.state_dict())
    continued, its_schedule = make_optimizer(second, settings, drop)
    continued.load_state_dict(optimizer.state_dict())
    its_schedule.load_state_dict(schedule.state_dict())
    for step in range(2, 4):
        take_step(second, continued, its_schedule, gradient=step)

    assert values(second) == values(whole)


def test_without_any_difference_the_optimizer_gets_bare_parameters():
    model = make_model()
    groups = parameter_groups(model, GroupSettings())
    assert [id(p) for p in groups.parameters] == [id(p) for p in model.parameters()]
    assert groups.factors is None
    assert groups.sentence == ""


def test_what_does_not_learn_is_in_no_group():
    model = make_model()
    model["old"].requires_grad_(False)
    groups = parameter_groups(model, GroupSettings(bias_lr_factor=2))
    assert [[id(p) for p in group["params"]] for group in groups.parameters] == [
        [id(model["fc8"].weight)],
        [id(model["fc8"].bias)],
    ]
    assert groups.sentence == "Learning rates of the tensors: 1 at x 1, 1 at x 2."


def test_parameters_of_nobody_s_model_learn_at_the_common_rate():
    other = nn.Parameter(torch.ones(1))
    groups = parameter_groups(make_model(), GroupSettings(bias_lr_factor=2), [other])
    assert groups.factors == [1, 2]
    assert groups.parameters[0]["params"][0] is other


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param(
            GroupSettings(lr_factors={"fc7": 10}),
            'names "fc7", but ModuleDict has no such part. Nearest: "fc8"',
            id="no such part",
        ),
        pytest.param(
            GroupSettings(lr_factors={"fc": 10}), 'names "fc"', id="half a word is no part"
        ),
        pytest.param(GroupSettings(bias_lr_factor=-1), "factor -1", id="below zero"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        parameter_groups(make_model(), settings)


def test_an_optimizer_goes_on_in_the_groups_it_was_made_for():
    GroupSettings().require_same(None)
    GroupSettings(2.0).require_same({"bias_lr_factor": 2.0, "bias_weight_decay": True})
    with pytest.raises(UserError, match=r"trained with bias_lr_factor = 1.0; here .* = 2.0"):
        GroupSettings(2.0).require_same(None)
