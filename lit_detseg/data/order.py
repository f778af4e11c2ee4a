"""Which sample stands at which position of which epoch, and which rank reads it: arithmetic only.

The order of an epoch is a function of (shard lengths, seed, epoch, window), never of the number of
ranks, workers or restarts, so a resume at step g computes its position and needs no saved state.

Names:
    sample:   number of an image in stored order, 0 .. N - 1.
    position: place in an epoch; what stands there differs from epoch to epoch.
    step:     one forward pass on all ranks together; `accumulate` of them make an optimiser step.

Random numbers are hashes of (seed, epoch, stream, number), not draws of a generator: numpy does
not promise that its next release permutes alike (NEP 19), and a checkpoint outlives a release.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np

from lit_detseg.structures import UserError

Tail = Literal["drop", "wrap"]

DEFAULT_SEED = 0
DEFAULT_SHUFFLE_WINDOW = 16

# The streams of random numbers that one seed gives.
_SHARDS, _SAMPLES, _IMAGES = 1, 2, 3


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


@dataclass(frozen=True)
class TrainingOrder:
    """Each epoch: permute the shards, take windows of them, permute the samples in each window.

    Args:
        shard_lengths: samples per shard, in stored order.
        batch: images per step over all ranks.
        seed: any integer from 0.
        shuffle_window: shards whose samples are mixed with each other, and thus open at a time.
        tail: what happens to the samples behind the last whole optimiser step of an epoch. `drop`
            leaves them out (another epoch drops others); `wrap` fills up with the first positions.
        accumulate: steps per optimiser step. An epoch holds whole optimiser steps only.

    Raises:
        UserError: when there is no sample, or fewer than one optimiser step takes.
    """

    shard_lengths: tuple[int, ...]
    batch: int
    seed: int = DEFAULT_SEED
    shuffle_window: int = DEFAULT_SHUFFLE_WINDOW
    tail: Tail = "drop"
    accumulate: int = 1

    def __post_init__(self) -> None:
        _check_not_empty(self.num_samples)
        for name in ("batch", "shuffle_window", "accumulate"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)} must be at least 1.")
        if self.tail not in ("drop", "wrap"):
            raise UserError(f"tail = {self.tail!r} must be `drop` or `wrap`.")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed = {self.seed} must be from 0 to 2^63 - 1.")
        if self.tail == "drop" and self.num_samples < self.images_per_optimiser_step:
            raise UserError(
                f"The set holds {self.num_samples} images, fewer than one batch of "
                f"{self.images_per_optimiser_step}, so that tail = drop would leave none. "
                f"Use tail = wrap or a batch of at most {self.num_samples}."
            )

    @property
    def num_samples(self) -> int:
        """Images in the set."""
        return sum(self.shard_lengths)

    @property
    def images_per_optimiser_step(self) -> int:
        """The total batch size."""
        return self.batch * self.accumulate

    @property
    def steps(self) -> int:
        """Steps per epoch, a multiple of `accumulate`."""
        whole, rest = divmod(self.num_samples, self.images_per_optimiser_step)
        return (whole + (self.tail == "wrap" and rest > 0)) * self.accumulate

    @property
    def dropped(self) -> int:
        """Images that an epoch leaves out; below 0, the number it shows once more."""
        return self.num_samples - self.steps * self.batch

    def epoch(self, epoch: int) -> np.ndarray:
        """The sample at each position of `epoch`, (N,) int64: a permutation."""
        return _epoch_order(self.shard_lengths, self.seed, epoch, self.shuffle_window)

    def slots(self, step: int, rank: int = 0, ranks: int = 1) -> Slots:
        """What `rank` of `ranks` reads at `step`, counted from the start of training.

        Step g of an epoch owns the positions [g batch, (g + 1) batch); a rank takes its
        contiguous share. Positions from N on (tail = wrap) are the first ones again, with seeds
        of their own.

        Raises:
            UserError: when the ranks cannot share a batch equally.
        """
        share = images_per_step(self.batch, ranks) // ranks
        epoch, step = divmod(step, self.steps)
        positions = step * self.batch + rank * share + np.arange(share)
        samples = self.epoch(epoch)[positions % self.num_samples]
        return Slots(samples, image_seeds(self.seed, epoch, positions))


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


def image_seeds(seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
    """One number per image and epoch for all that is random about it (augmentation, sampling).

    Args:
        seed: of the run.
        epoch: from 0.
        positions: (B,) places in the epoch.

    Returns:
        (B,) int64 in [0, 2^63).
    """
    return (_hash(positions, seed, epoch, _IMAGES) >> np.uint64(1)).astype(np.int64)


@lru_cache(maxsize=2)  # an epoch, and the next one while it is prefetched
def _epoch_order(
    shard_lengths: tuple[int, ...], seed: int, epoch: int, shuffle_window: int
) -> np.ndarray:
    shards = np.arange(len(shard_lengths))
    place_of_shard = np.argsort(np.argsort(_hash(shards, seed, epoch, _SHARDS), kind="stable"))
    window_of_shard = place_of_shard // shuffle_window
    window = np.repeat(window_of_shard, shard_lengths)
    shuffled = _hash(np.arange(len(window)), seed, epoch, _SAMPLES)
    order = np.lexsort((shuffled, window))  # by window, then at random
    order.flags.writeable = False  # shared by all who ask
    return order


def _hash(numbers: np.ndarray, *stream: int) -> np.ndarray:
    """splitmix64 (Steele, Lea, Flood 2014, section 3) of each number within a stream."""
    state = np.zeros(1, dtype=np.uint64)
    for part in stream:
        state = _splitmix64(state + np.uint64(part))
    return _splitmix64(state + _splitmix64(numbers.astype(np.uint64)))


def _splitmix64(state: np.ndarray) -> np.ndarray:
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _check_not_empty(num_samples: int) -> None:
    if num_samples < 1:
        raise UserError(
            "The set holds no image. Look at the report of `lit-detseg pack`: "
            "every input may have been dropped."
        )
