"""The order of one epoch: how often each image is listed, where, and in whose company.

Names:
    copies: how often an epoch lists an image; 1 where no sampling is asked for.
    units:  copies in fixed point. Integers add up to the same sum in any order and on any machine,
        so that every rank and every restart agrees on the number of steps.
"""

from typing import NamedTuple

import numpy as np

from lit_detseg.data.hashing import hashed
from lit_detseg.structures import UserError

UNIT = 2**24  # units of one copy

# The streams of random numbers that one seed gives.
_SHARDS, _SAMPLES, _IMAGES, _COMPANIONS, _COPIES, _START = 1, 2, 3, 4, 5, 6


class Epoch(NamedTuple):
    """What an epoch lists; arrays that everybody who asks shares."""

    samples: np.ndarray  # (P,) int64, the sample at each position
    windows: np.ndarray  # (P,) int64, the window of shards that it belongs to
    shuffled: np.ndarray  # (T,) int64, all listed samples, window after window
    starts: np.ndarray  # (W + 1,) int64, where each window begins in `shuffled`


def epoch_order(
    shard_lengths: tuple[int, ...],
    seed: int,
    epoch: int,
    shuffle_window: int,
    copies: np.ndarray | None = None,
) -> Epoch:
    """Permute the shards, take windows of them, permute the samples in each window.

    Args:
        shard_lengths: samples per shard, in stored order; N in all.
        seed: of the run.
        epoch: from 0.
        shuffle_window: shards that are mixed with each other.
        copies: (N,) int64, how often each sample is listed; not given: once.
    """
    shards = np.arange(len(shard_lengths))
    place_of_shard = np.argsort(np.argsort(hashed(shards, seed, epoch, _SHARDS), kind="stable"))
    window_of_sample = np.repeat(place_of_shard // shuffle_window, shard_lengths)
    samples, numbers = _listed(len(window_of_sample), copies)
    windows = window_of_sample[samples]
    order = np.lexsort((hashed(numbers, seed, epoch, _SAMPLES), windows))  # by window, then random
    shuffled, windows = samples[order], windows[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(windows))])
    return Epoch(shuffled, windows, shuffled, starts)


def batches_of_one_group(groups: np.ndarray, batch: int, wrap: bool) -> np.ndarray:
    """Rearrange a list so that each run of `batch` places holds members of one group.

    Reads the list once, as a buffer per group would: a batch is complete, and follows those that
    were complete before it, with the last of its members.

    Args:
        groups: (T,) the group of each member of the list.
        batch: members of a batch.
        wrap: fill the last batch of each group with the group's first members, at the end of
            the list; otherwise those who fill no batch stand behind all batches.

    Returns:
        (P,) int64 places in the given list.
    """
    whole: list[np.ndarray] = []
    wrapped: list[np.ndarray] = []
    rest: list[np.ndarray] = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        full = len(members) // batch * batch
        whole.append(members[:full].reshape(-1, batch))
        if wrap and full < len(members):
            wrapped.append(members[np.arange(full, full + batch) % len(members)])
        else:
            rest.append(members[full:])
    batches = np.concatenate(whole)
    batches = batches[np.argsort(batches[:, -1])]
    return np.concatenate([batches.ravel(), *wrapped, *map(np.sort, rest)])


def whole_units(copies: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The wanted copies as units, such that each group's sum is a whole number of copies.

    A sum is rounded up. The difference, less than one copy a group, is spread over the images
    whose number of copies is not whole, and lifts none of them above its next whole number.

    Args:
        copies: (N,) float64, at least 0.
        groups: (N,) the group of each image.

    Returns:
        (N,) int64.

    Raises:
        UserError: when a number of copies is negative, not finite or beyond counting.
    """
    if not (np.isfinite(copies) & (copies >= 0)).all() or not 0 < copies.sum() < 2**38:
        raise UserError(
            f"The sampling asks for {copies.min():g} to {copies.max():g} copies of an image in an "
            "epoch: give each image a finite number from 0, and at least one image more than 0."
        )
    # Down, so that sums which are whole in truth do not pass their whole number and get one more;
    # but not for a rounding error of the copies themselves.
    units = np.floor(copies * UNIT + 0.001).astype(np.int64)
    for group in np.unique(groups):
        members = groups == group
        units[members] = _rounded_up(units[members])
    return units


def copies_of_epoch(units: np.ndarray, groups: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """How often an epoch lists each image: systematic sampling in an order made anew each epoch.

    The images' units are laid end to end, and every UNIT-th one is picked from a random start on.
    An image of 2.3 copies is so listed twice or three times, three times in 30 % of the epochs;
    and a group whose units add up to 1000 copies is listed 1000 times in every epoch.

    Args:
        units: (N,) int64, as `whole_units` gives them.
        groups: (N,) the group of each image.
        seed: of the run.
        epoch: from 0.

    Returns:
        (N,) int64.
    """
    shuffled = hashed(np.arange(len(units)), seed, epoch, _COPIES)
    order = np.lexsort((shuffled, groups))
    start = int(hashed(np.arange(1), seed, epoch, _START)[0] % np.uint64(UNIT))
    picked = -((start - np.cumsum(units[order])) // UNIT)  # picks before the end of each image
    copies = np.empty_like(picked)
    copies[order] = np.diff(picked, prepend=0)
    return copies


def image_seeds(seed: int, epoch: int, positions: np.ndarray) -> np.ndarray:
    """One number per image and epoch for all that is random about it (augmentation, sampling).

    Args:
        seed: of the run.
        epoch: from 0.
        positions: (B,) places in the epoch.

    Returns:
        (B,) int64 in [0, 2^63).
    """
    return (hashed(positions, seed, epoch, _IMAGES) >> np.uint64(1)).astype(np.int64)


def companions_of(
    listed: Epoch, seed: int, epoch: int, positions: np.ndarray, companions: int
) -> np.ndarray:
    """For each position some samples of its window, each as likely as the epoch lists it often.

    Drawn with replacement: the image itself may be among them.

    Args:
        listed: the epoch.
        seed: of the run.
        epoch: its number.
        positions: (B,); behind the last one, the first ones follow again with other companions.
        companions: K, how many; the first ones do not depend on how many follow.

    Returns:
        (B, K) int64 samples.
    """
    window = listed.windows[positions % len(listed.windows)]
    first, length = listed.starts[window], np.diff(listed.starts)[window]
    drawn = [
        hashed(positions, seed, epoch, _COMPANIONS, number) % length.astype(np.uint64)
        for number in range(companions)
    ]
    return listed.shuffled[first[:, None] + np.stack(drawn, axis=1).astype(np.int64)]


def _rounded_up(units: np.ndarray) -> np.ndarray:
    missing = -int(units.sum()) % UNIT
    room = -units % UNIT  # to the next whole number of copies
    more = room * missing // max(int(room.sum()), 1)  # rounded down ...
    left = np.minimum(np.cumsum(room - more), missing - more.sum())  # ... the rest to the first
    return units + more + np.diff(left, prepend=0)


def _listed(num_samples: int, copies: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The sample of each copy, and a number that no other copy has."""
    samples = np.arange(num_samples)
    if copies is None:
        return samples, samples
    listed = np.repeat(samples, copies)
    which_copy = np.arange(len(listed)) - np.repeat(np.cumsum(copies) - copies, copies)
    return listed, listed + which_copy * num_samples
