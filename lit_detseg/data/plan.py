"""What an epoch of training will read, in numbers and in words, before it begins."""

from typing import NamedTuple

from lit_detseg.data.order import NO_SAMPLING, TrainingOrder, images_per_step


class TrainingPlan(NamedTuple):
    """The counts of one epoch; they are the same in every epoch."""

    images: int  # in the set
    shards: int
    images_per_epoch: int  # listed, copies counted
    steps: int  # forward passes of all ranks
    images_per_step: int  # over all ranks
    accumulate: int  # steps per optimiser step
    ranks: int
    images_per_rank: int  # of a step
    dropped: int  # listed, but in no step
    repeated: int  # in one step more than listed
    seed: int
    shuffle_window: int  # shards
    sampling: str
    group_by_aspect_ratio: bool


def training_plan(order: TrainingOrder, ranks: int) -> TrainingPlan:
    """Count what an order gives to each rank.

    Raises:
        UserError: when the ranks cannot share a step equally.
    """
    return TrainingPlan(
        images=order.num_samples,
        shards=len(order.shard_lengths),
        images_per_epoch=order.images_per_epoch,
        steps=order.steps,
        images_per_step=order.batch,
        accumulate=order.accumulate,
        ranks=ranks,
        images_per_rank=images_per_step(order.batch, ranks) // ranks,
        dropped=max(order.dropped, 0),
        repeated=max(-order.dropped, 0),
        seed=order.seed,
        shuffle_window=order.shuffle_window,
        sampling=order.sampling,
        group_by_aspect_ratio=order.groups is not None,
    )


def plan_rows(plan: TrainingPlan) -> dict[str, str]:
    """What to tell people, by the name of the fact."""
    steps = f"{plan.steps} of {plan.images_per_step} images over all ranks"
    if plan.accumulate > 1:
        total = plan.images_per_step * plan.accumulate
        steps += f"; {plan.accumulate} make an optimiser step of {total}"
    rows = {
        "images": str(plan.images),
        "shards": str(plan.shards),
        "steps": steps,
        "ranks": f"{plan.ranks}, each reads {plan.images_per_rank} images of a step",
        "tail": _tail(plan),
        "order": f"seed {plan.seed}, shuffled in windows of {plan.shuffle_window} shards",
    }
    if plan.sampling != NO_SAMPLING:
        rows["sampling"] = f"{plan.sampling} lists {plan.images_per_epoch} images an epoch"
    if plan.group_by_aspect_ratio:
        rows["grouping"] = "each optimiser step shows images of one orientation"
    return rows


def plan_lines(plan: TrainingPlan) -> list[str]:
    """The same as lines of text."""
    return [f"{name}: {value}" for name, value in plan_rows(plan).items()]


def _tail(plan: TrainingPlan) -> str:
    if plan.dropped:
        return f"{plan.dropped} left out of each epoch, others every time"
    if plan.repeated and plan.group_by_aspect_ratio:
        return f"the first of each orientation fill up its last step, {plan.repeated} in all"
    if plan.repeated:
        return f"the epoch's first {plan.repeated} images fill up its last step"
    return "every image is in exactly one step"
