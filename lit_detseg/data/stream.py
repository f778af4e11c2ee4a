"""Where a run stands in the stream of training steps, and whether it continues a checkpoint's.

The stream goes on for ever; `order.py` says what each step holds. Lightning counts the steps
trained and keeps the count in its checkpoints: neither what workers have read ahead nor any
generator's state matters.
"""

import hashlib
from typing import Any

from lit_detseg.data.order import NO_SAMPLING, TrainingOrder
from lit_detseg.structures import UserError

# What decides which image stands where, and what a checkpoint meant that does not say it yet. The
# number of ranks does not decide, nor does accumulation. Companions do not stand anywhere.
_ADDED = {"sampling": NO_SAMPLING, "group_by_aspect_ratio": False}
_IDENTITY = ("seed", "total_batch_size", "tail", "shuffle_window", "train_sets", *_ADDED)


def steps_trained(trainer: Any) -> int:
    """Steps (not optimiser steps) that a `lightning.Trainer` has taken in all."""
    # Not `completed`: in a checkpoint saved in `on_train_batch_end` it is one behind.
    return trainer.fit_loop.epoch_loop.batch_progress.total.processed


def steps_to_train(trainer: Any, steps_per_epoch: int) -> range:
    """The steps of the stream that are left in the trainer's epoch.

    Args:
        trainer: a `lightning.Trainer`, whose epoch `limit_train_batches` may have shortened.
        steps_per_epoch: of the order.
    """
    limit = trainer.limit_train_batches
    length = min(steps_per_epoch, limit) if isinstance(limit, int) else int(steps_per_epoch * limit)
    done = trainer.fit_loop.epoch_loop.batch_progress.current.processed
    if trainer.overfit_batches:  # the same steps again and again
        return range(done, length)
    first = steps_trained(trainer)
    return range(first, first + length - done)


def stream_state(order: TrainingOrder, train_sets: tuple[str, ...], step: int) -> dict[str, Any]:
    """What to store, as plain types.

    Args:
        order: of the training images.
        train_sets: SHA-256 of the index of each training set, and of its proposals if it has some.
        step: how many steps were trained.
    """
    return {
        "seed": order.seed,
        "total_batch_size": order.images_per_optimiser_step,
        "tail": order.tail,
        "shuffle_window": order.shuffle_window,
        "train_sets": list(train_sets),
        "sampling": order.sampling,
        "group_by_aspect_ratio": order.groups is not None,
        "images_per_step": order.batch,
        "steps_per_epoch": order.steps,
        "step": step,
    }


def continued_step(stored: dict[str, Any], current: dict[str, Any], allow_changed: bool) -> int:
    """The step at which a run goes on, in its own count of steps.

    Where the two count alike this is the stored step. With another accumulation, a step holds
    another number of images, and the same image comes next; after an allowed change, the run goes
    on in the same epoch after as many images (rounded down to a whole step).

    Args:
        stored: `stream_state` of the checkpoint.
        current: `stream_state` of this run.
        allow_changed: whether a different stream is what the user wants.

    Raises:
        UserError: when the stream is a different one and this is not allowed.
    """
    stored = {**_ADDED, **stored}
    changed = [name for name in _IDENTITY if stored[name] != current[name]]
    if changed and not allow_changed:
        raise UserError(
            f"The checkpoint was trained on another stream of images: {_words(stored, changed)} "
            f"there, {_words(current, changed)} here. Give what it was trained with, or "
            "`--data.allow_changed_stream=true` to go on from the same place of the same epoch."
        )
    epoch, step = divmod(stored["step"], stored["steps_per_epoch"])
    images = step * stored["images_per_step"]
    return epoch * current["steps_per_epoch"] + images // current["images_per_step"]


def recount(trainer: Any, stored: dict[str, Any], current: dict[str, Any], step: int) -> None:
    """Let a trainer that was restored from a checkpoint count its steps as this run does.

    Changes nothing when the two count alike. Otherwise epochs would end too early or too late.

    Args:
        trainer: a `lightning.Trainer`.
        stored: `stream_state` of the checkpoint.
        current: `stream_state` of this run.
        step: what `continued_step` makes of them.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress
    length, done = current["steps_per_epoch"], progress.current.processed
    of_epoch = min(done * stored["images_per_step"] // current["images_per_step"], length)
    if done == stored["steps_per_epoch"]:
        of_epoch = length  # a finished epoch stays finished, though another tail be dropped
    for counts, processed in ((progress.total, step), (progress.current, of_epoch)):
        moved = processed - counts.processed
        for name in ("ready", "started", "processed", "completed"):  # their differences stay
            setattr(counts, name, getattr(counts, name) + moved)


def _words(state: dict[str, Any], names: list[str]) -> str:
    short = {**state, "train_sets": [_shortened(name) for name in state["train_sets"]]}
    return ", ".join(f"{name} = {short[name]}" for name in names)


def _shortened(identity: str) -> str:
    """A SHA-256 by its first characters; what is readable stays as it is."""
    return identity[:12] if len(identity) == hashlib.sha256().digest_size * 2 else identity
