"""The learning rate of a recipe, carried over to another total batch.

A recipe states its learning rate for a reference total batch. With another total batch we scale it
linearly and warm up (Goyal et al., arXiv:1706.02677, sections 2.1 and 2.2).
"""

from dataclasses import dataclass

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR, LRScheduler

# Detectron's warm-up (its configs: WARM_UP_ITERS 500, WARM_UP_FACTOR 1/3). Used when the recipe
# names no warm-up of its own and the total batch differs from the recipe's.
WARMUP_STEPS = 500
WARMUP_FACTOR = 1 / 3


@dataclass(frozen=True)
class LearningRateRule:
    """What is done to the recipe's learning rate, and the sentence that says so.

    Args:
        factor: multiplies the learning rate of every parameter group.
        warmup_steps: optimiser steps over which it rises to full height; 0 for none.
        sentence: printed at the start and stored with the run.
    """

    factor: float
    warmup_steps: int
    sentence: str

    def apply(self, optimizer: Optimizer) -> None:
        """Scale every group of an optimiser that no schedule has been attached to yet."""
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * self.factor

    def warm_up(self, optimizer: Optimizer, schedule: LRScheduler) -> LRScheduler:
        """Put the warm-up in front of a schedule; both multiply."""
        if not self.warmup_steps:
            return schedule
        rise = LinearLR(optimizer, start_factor=WARMUP_FACTOR, total_iters=self.warmup_steps)
        return ChainedScheduler([rise, schedule], optimizer=optimizer)


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
