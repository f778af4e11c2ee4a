"""Learning rates and weight decay of single parameters, as Caffe's `lr_mult` and `decay_mult`.

Fast R-CNN (arXiv:1504.08083, section 2.3): biases learn at twice the rate of weights; decayed
    in the paper, not in its prototxt (`decay_mult: 0`), again in py-faster-rcnn's.
Detectron: biases at twice the rate, not decayed.
R-CNN: its new layer fc8 learns ten times as fast; FCIS: its new layer conv_new three times.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, NamedTuple

from torch import nn

from lit_detseg.models.parts import holds, nearest_part
from lit_detseg.structures import UserError

BIAS = "bias"


class ParameterGroups(NamedTuple):
    """What an optimizer is given, and what its groups' learning rates are multiplied by."""

    parameters: list[Any]  # one group for each factor; bare parameters where one group is enough
    factors: list[float] | None  # of each group; None where one group is enough
    sentence: str  # empty where one group is enough


@dataclass(frozen=True)
class GroupSettings:
    """Which parameters learn at another rate than the optimizer's, or do not decay.

    A factor of `lr_factors` and that of biases multiply: fc8 of R-CNN has 10, its bias 20.

    Args:
        bias_lr_factor: for every parameter called `bias`, those of normalisation layers too.
        bias_weight_decay: whether they decay as the optimizer says, or not at all.
        lr_factors: by name of a part or of a parameter, `roi_stage.head.class_logits`; where two
            names hold a parameter, the longer one counts.
    """

    bias_lr_factor: float = 1.0
    bias_weight_decay: bool = True
    lr_factors: dict[str, float] | None = None

    def require_same(self, stored: Mapping[str, Any] | None) -> None:
        """Refuse to continue an optimizer whose parameters were grouped in another way.

        Args:
            stored: `asdict` of the settings in the checkpoint; None of one that knew no groups.

        Raises:
            UserError: with the difference.
        """
        mine, theirs = asdict(self), stored or asdict(GroupSettings())
        changed = [name for name in mine if (mine[name] or None) != (theirs.get(name) or None)]
        if changed:
            there, here = (
                ", ".join(f"{name} = {settings.get(name)}" for name in changed)
                for settings in (theirs, mine)
            )
            raise UserError(
                f"The checkpoint was trained with {there}; here {here}. The optimizer's state "
                "belongs to its groups of parameters: give the same, or start a new run from "
                "these weights with --run.start_from."
            )


class _Kind(NamedTuple):
    """What distinguishes one group from another."""

    factor: float
    decays: bool


PLAIN = _Kind(1.0, True)


def parameter_groups(
    model: nn.Module, settings: GroupSettings, others: Iterable[nn.Parameter] = ()
) -> ParameterGroups:
    """Sort the parameters that learn by learning rate and weight decay.

    Args:
        model: names in the settings are names in here.
        settings: what differs.
        others: parameters that learn at the common rate, whatever they are called.

    Raises:
        UserError: when there is no part of such a name, or a factor is negative.
    """
    lr_factors = settings.lr_factors or {}
    _check_factors({"bias_lr_factor": settings.bias_lr_factor, **lr_factors})
    _check_names(model, lr_factors)
    kinds: dict[_Kind, list[nn.Parameter]] = {PLAIN: list(others)}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_bias = name.rpartition(".")[2] == BIAS
            factor = _factor_of(name, lr_factors) * (settings.bias_lr_factor if is_bias else 1.0)
            kind = _Kind(factor, settings.bias_weight_decay or not is_bias)
            kinds.setdefault(kind, []).append(parameter)
    kinds = {kind: members for kind, members in kinds.items() if members} or {PLAIN: []}
    if set(kinds) == {PLAIN}:
        return ParameterGroups(kinds[PLAIN], None, "")
    groups = [
        {"params": members} if kind.decays else {"params": members, "weight_decay": 0.0}
        for kind, members in kinds.items()
    ]
    return ParameterGroups(groups, [kind.factor for kind in kinds], _sentence(kinds))


def _factor_of(name: str, lr_factors: Mapping[str, float]) -> float:
    matching = [part for part in lr_factors if holds(part, name)]
    return lr_factors[max(matching, key=len)] if matching else 1.0


def _check_factors(factors: Mapping[str, float]) -> None:
    for name, factor in factors.items():
        if not (isfinite(factor) and factor >= 0):
            raise UserError(
                f"{name} has the learning-rate factor {factor}. Give a number of at least 0; "
                "1 is the common rate."
            )


def _check_names(model: nn.Module, names: Iterable[str]) -> None:
    parameters = [name for name, _ in model.named_parameters()]
    for name in names:
        if any(holds(name, parameter) for parameter in parameters):
            continue
        raise UserError(
            f'lr_factors names "{name}", but {type(model).__name__} has no such part. Nearest: '
            f'"{nearest_part(name, parameters)}". Names are dotted, without the leading `model.`.'
        )


def _sentence(kinds: Mapping[_Kind, list[nn.Parameter]]) -> str:
    parts = [
        f"{len(members)} at x {kind.factor:g}{'' if kind.decays else ' without weight decay'}"
        for kind, members in kinds.items()
    ]
    return f"Learning rates of the tensors: {', '.join(parts)}."
