"""Which sample stands at which position of which epoch, and which rank reads it: arithmetic only.

The order of an epoch is a function of (shard lengths, seed, epoch, window) and of what the index
says of each image (its copies, its group), never of the number of ranks, workers or restarts, so a
resume at step g computes its position and needs no saved state.

Names:
    sample:   number of an image in stored order, 0 .. N - 1.
    position: place in an epoch; what stands there differs from epoch to epoch.
    step:     one forward pass on all ranks together; `accumulate` of them make an optimiser step.

Random numbers are hashes of (seed, epoch, stream, number), not draws of a generator: see
`hashing.py`.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np

from lit_detseg.data.epoch_order import (
    UNIT,
    Epoch,
    batches_of_one_group,
    companions_of,
    copies_of_epoch,
    epoch_order,
    image_seeds,
    whole_units,
)
from lit_detseg.structures import UserError

Tail = Literal["drop", "wrap"]

DEFAULT_SEED = 0
DEFAULT_SHUFFLE_WINDOW = 16
NO_SAMPLING = "none"  # the name of listing each image once


class Slots(NamedTuple):
    """What one rank reads at one step; parallel arrays."""

    samples: np.ndarray  # (B,) int64
    seeds: np.ndarray | None  # (B,) int64, one per image and epoch; None in evaluation
    companions: np.ndarray | None = None  # (B, K) int64 samples to mix in; of the same window
    step: int = 0  # the optimiser step, from the start of training; for sizes that change by step
    run_seed: int = 0  # of the run


class Order(Protocol):
    """What a loader asks of an order. Steps may count on past the end of an epoch."""

    @property
    def steps(self) -> int:
        """Steps per epoch, the same on each rank."""

    def slots(self, step: int, rank: int = 0, ranks: int = 1) -> Slots:
        """What `rank` of `ranks` reads at `step`, counted from the start of training."""


@dataclass(frozen=True, eq=False)
class TrainingOrder:
    """Each epoch: permute the shards, take windows of them, permute the samples in each window.

    With shuffle_window >= shards this is a full shuffle. With fewer, every image may still stand
    anywhere, but neighbours are no strangers: the next image is of the same shard with probability
    1 / shuffle_window (of equal shards), which matters where shards were packed in a sorted order.

    Args:
        shard_lengths: samples per shard, in stored order; N in all.
        batch: images per step over all ranks.
        seed: any integer from 0.
        shuffle_window: shards whose samples are mixed with each other, and thus open at a time.
        tail: what happens to the samples behind the last whole optimiser step of an epoch. `drop`
            leaves them out (another epoch drops others); `wrap` fills up with the first positions.
        accumulate: steps per optimiser step. An epoch holds whole optimiser steps only.
        companions: further samples per image, to be mixed into it.
        copies: (N,) how often an epoch is to list each sample, on average over the epochs; an
            epoch lists it floor or ceil times, and has the same length in each. Not given: once.
        sampling: the name of what made `copies`.
        groups: (N,) the group of each sample, of which an optimiser step shows only one. A batch
            waits for its last member: where a window holds a batch of each group, it draws from
            two neighbouring windows at most. Not given: all are one group.

    Raises:
        UserError: when there is no sample, or fewer (in a group) than one optimiser step takes.
    """

    shard_lengths: tuple[int, ...]
    batch: int
    seed: int = DEFAULT_SEED
    shuffle_window: int = DEFAULT_SHUFFLE_WINDOW
    tail: Tail = "drop"
    accumulate: int = 1
    companions: int = 0
    copies: np.ndarray | None = None
    sampling: str = NO_SAMPLING
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        _check_not_empty(self.num_samples)
        _check_options(self)
        smallest = int(self._totals.min())
        if self.tail == "wrap" or smallest >= self.images_per_optimiser_step:
            return
        group = instead = ""
        if len(self._totals) > 1:
            group, instead = (" of one orientation", ", or no grouping")
        raise UserError(
            f"An epoch lists {smallest} images{group}, fewer than one batch of "
            f"{self.images_per_optimiser_step}, so that tail = drop would never show them. "
            f"Use tail = wrap or a batch of at most {smallest}{instead}."
        )

    @property
    def num_samples(self) -> int:
        """Images in the set."""
        return sum(self.shard_lengths)

    @property
    def images_per_epoch(self) -> int:
        """Images that an epoch lists, copies counted; N without sampling."""
        return int(self._totals.sum())

    @property
    def images_per_optimiser_step(self) -> int:
        """The total batch size."""
        return self.batch * self.accumulate

    @property
    def steps(self) -> int:
        """Steps per epoch, a multiple of `accumulate`."""
        whole, rest = np.divmod(self._totals, self.images_per_optimiser_step)
        wrapped = (rest > 0) if self.tail == "wrap" else 0
        return int((whole + wrapped).sum()) * self.accumulate

    @property
    def dropped(self) -> int:
        """Listed images that an epoch leaves out; below 0, the number it shows once more."""
        return self.images_per_epoch - self.steps * self.batch

    def epoch(self, epoch: int) -> np.ndarray:
        """The sample at each position of `epoch`, int64.

        A permutation of all N, unless samples have copies. With groups and tail = wrap, those that
        fill up the last batches are part of it.
        """
        return _epoch_of(self, epoch).samples

    def slots(self, step: int, rank: int = 0, ranks: int = 1) -> Slots:
        """What `rank` of `ranks` reads at `step`, counted from the start of training.

        Step g of an epoch owns the positions [g batch, (g + 1) batch); a rank takes its
        contiguous share. Positions behind the last (tail = wrap) are the first ones again, with
        seeds of their own.

        Raises:
            UserError: when the ranks cannot share a batch equally.
        """
        share = images_per_step(self.batch, ranks) // ranks
        epoch, step_of_epoch = divmod(step, self.steps)
        positions = step_of_epoch * self.batch + rank * share + np.arange(share)
        listed = _epoch_of(self, epoch)
        companions = None
        if self.companions:
            companions = companions_of(listed, self.seed, epoch, positions, self.companions)
        return Slots(
            samples=listed.samples[positions % len(listed.samples)],
            seeds=image_seeds(self.seed, epoch, positions),
            companions=companions,
            step=step // self.accumulate,
            run_seed=self.seed,
        )

    @cached_property
    def _groups(self) -> np.ndarray:
        return np.zeros(self.num_samples, np.int64) if self.groups is None else self.groups

    @cached_property
    def _units(self) -> np.ndarray | None:
        return None if self.copies is None else whole_units(self.copies, self._groups)

    @cached_property
    def _totals(self) -> np.ndarray:
        """Images that an epoch lists of each group, the same number in every epoch."""
        names, sizes = np.unique(self._groups, return_counts=True)
        if self._units is None:
            return sizes
        totals = np.array([self._units[self._groups == name].sum() for name in names]) // UNIT
        return totals[totals > 0]


@dataclass(frozen=True)
class EvaluationOrder:
    """Stored order; every sample exactly once on any number of ranks, without padding.

    Args:
        num_samples: images in the set.
        batch: images per step over all ranks; the last step has the rest.

    Raises:
        UserError: when there is no sample.
    """

    num_samples: int
    batch: int

    def __post_init__(self) -> None:
        _check_not_empty(self.num_samples)
        if self.batch < 1:
            raise UserError(f"batch = {self.batch} must be at least 1.")

    @property
    def steps(self) -> int:
        """Steps of one evaluation, the same on each rank."""
        return -(-self.num_samples // self.batch)

    def slots(self, step: int, rank: int = 0, ranks: int = 1) -> Slots:
        """What `rank` of `ranks` reads at `step`: as equal a share as possible, maybe none."""
        first = step % self.steps * self.batch
        images = min(self.batch, self.num_samples - first)
        begin, end = (rank * images // ranks, (rank + 1) * images // ranks)
        return Slots(first + np.arange(begin, end), seeds=None)


def images_per_step(total_batch_size: int, ranks: int, accumulate: int = 1) -> int:
    """Images of one step over all ranks.

    Args:
        total_batch_size: images per optimiser step.
        ranks: processes that share a step equally.
        accumulate: steps per optimiser step.

    Raises:
        UserError: when the total is no multiple of both.
    """
    parts = ranks * accumulate
    if total_batch_size < 1 or total_batch_size % parts:
        near = max(total_batch_size // parts, 1) * parts
        accumulated = f" x {accumulate} accumulated steps" if accumulate > 1 else ""
        raise UserError(
            f"total_batch_size = {total_batch_size} cannot be shared by {ranks} processes"
            f"{accumulated}. Use a multiple of {parts}, for example {near}."
        )
    return total_batch_size // accumulate


@lru_cache(maxsize=2)  # an epoch, and the next one while it is prefetched
def _epoch_of(order: TrainingOrder, epoch: int) -> Epoch:
    copies = None
    if order._units is not None:
        copies = copies_of_epoch(order._units, order._groups, order.seed, epoch)
    listed = epoch_order(order.shard_lengths, order.seed, epoch, order.shuffle_window, copies)
    if order.groups is not None:
        groups = order.groups[listed.samples]
        batch, wrap = order.images_per_optimiser_step, order.tail == "wrap"
        places = batches_of_one_group(groups, batch, wrap)
        listed = listed._replace(samples=listed.samples[places], windows=listed.windows[places])
    for array in listed:
        array.flags.writeable = False  # shared by all who ask
    return listed


def _check_options(order: TrainingOrder) -> None:
    for name, least in (("batch", 1), ("shuffle_window", 1), ("accumulate", 1), ("companions", 0)):
        if getattr(order, name) < least:
            raise UserError(f"{name} = {getattr(order, name)} must be at least {least}.")
    if order.tail not in ("drop", "wrap"):
        raise UserError(f"tail = {order.tail!r} must be `drop` or `wrap`.")
    if not 0 <= order.seed < 2**63:
        raise UserError(f"seed = {order.seed} must be from 0 to 2^63 - 1.")
    for name in ("copies", "groups"):
        array = getattr(order, name)
        if array is not None and array.shape != (order.num_samples,):
            raise UserError(
                f"{name} has shape {array.shape}, but there are {order.num_samples} images: "
                "give one number for each."
            )


def _check_not_empty(num_samples: int) -> None:
    if num_samples < 1:
        raise UserError(
            "The set holds no image. Look at the report of `lit-detseg pack`: "
            "every input may have been dropped."
        )
