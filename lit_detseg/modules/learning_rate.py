"""The learning rate of a recipe, carried over to another total batch.

A recipe states its learning rate for a reference total batch. With another total batch we scale it
linearly and warm up (Goyal et al., arXiv:1706.02677, sections 2.1 and 2.2).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

# Detectron's warm-up (its configs: WARM_UP_ITERS 500, WARM_UP_FACTOR 1/3). Used when the recipe
# names no warm-up of its own and the total batch differs from the recipe's.
WARMUP_STEPS = 500
WARMUP_FACTOR = 1 / 3


@dataclass(frozen=True)
class LearningRateRule:
    """What is done to the recipe's learning rate, and the sentence that says so.

    Args:
        factor: multiplies the learning rate of every parameter group at every step.
        warmup_steps: optimiser steps over which it rises to full height; 0 for none.
        sentence: printed at the start and stored with the run.
    """

    factor: float
    warmup_steps: int
    sentence: str

    def multiplier(self, step: int) -> float:
        """What the recipe's learning rate is multiplied by after `step` optimiser steps."""
        if step >= self.warmup_steps:
            return self.factor
        risen = step / self.warmup_steps
        return self.factor * (WARMUP_FACTOR + (1 - WARMUP_FACTOR) * risen)


def learning_rate_rule(
    total_batch: int | None, reference_batch: int | None, warmup_steps: int | None
) -> LearningRateRule:
    """Decide on factor and warm-up.

    Args:
        total_batch: images per optimiser step of this run; None where nobody knows.
        reference_batch: images per step that the recipe's learning rate is stated for; None for
            "use the learning rate as it stands".
        warmup_steps: the recipe's own warm-up; None for none at the reference batch and
            `WARMUP_STEPS` at any other.

    >>> learning_rate_rule(32, 16, None).sentence
    'Learning rate x 2 (32 images per step; the recipe states it for 16), warm-up over 500 steps.'
    """
    if total_batch is None or reference_batch is None or total_batch == reference_batch:
        steps = warmup_steps or 0
        batch = "" if total_batch is None else f" ({total_batch} images per step)"
        rise = f", warm-up over {steps} steps" if steps else ""
        return LearningRateRule(1.0, steps, f"Learning rate as in the recipe{batch}{rise}.")
    factor = total_batch / reference_batch
    steps = WARMUP_STEPS if warmup_steps is None else warmup_steps
    rise = f"warm-up over {steps} steps" if steps else "no warm-up"
    return LearningRateRule(
        factor,
        steps,
        f"Learning rate x {factor:g} ({total_batch} images per step; "
        f"the recipe states it for {reference_batch}), {rise}.",
    )


class ScaledSchedule(LRScheduler):
    """Any schedule, with its learning rates multiplied by a rule's.

    The schedule inside keeps working on its own learning rates: some compute the next one from the
    last (MultiStepLR), some from nothing but the step (OneCycleLR), and both shall be scaled.

    Args:
        schedule: the recipe's, already attached to its optimizer.
        rule: what to multiply by.
        factors: what to multiply the rate of each parameter group by, besides; 1 if not given.
    """

    def __init__(
        self,
        schedule: LRScheduler,
        rule: LearningRateRule,
        factors: Sequence[float] | None = None,
    ) -> None:
        # Not `super().__init__`: it would take a first step, which `schedule` has taken already.
        self.optimizer: Optimizer = schedule.optimizer
        self.schedule = schedule
        self.rule = rule
        self.factors = [1.0] * len(self.optimizer.param_groups) if factors is None else factors
        self.last_epoch = 0  # torch's name for the number of steps taken
        self._unscaled = self._rates()
        self._apply()

    def step(self, epoch: int | None = None) -> None:
        """Step the schedule on its own rates, then scale them."""
        for group, rate in zip(self.optimizer.param_groups, self._unscaled, strict=True):
            group["lr"] = rate
        self.schedule.step()
        self.last_epoch += 1
        self._unscaled = self._rates()
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        """The schedule's state and rates; rule and factors are the run's, not the checkpoint's."""
        return {
            "last_epoch": self.last_epoch,
            "unscaled": list(self._unscaled),
            "schedule": self.schedule.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the schedule was, scaled by this run's rule."""
        self.last_epoch = state_dict["last_epoch"]
        self._unscaled = list(state_dict["unscaled"])
        self.schedule.load_state_dict(state_dict["schedule"])
        self._apply()

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _apply(self) -> None:
        multiplier = self.rule.multiplier(self.last_epoch)
        groups = zip(self.optimizer.param_groups, self._unscaled, self.factors, strict=True)
        for group, rate, factor in groups:
            group["lr"] = rate * multiplier * factor
        self._last_lr = [*self._rates()]
