"""What a node will read next: which files, in the order of their first use."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lit_detseg.data.order import Order
from lit_detseg.data.remote.urls import StoredFile

EPOCHS = 2  # looked ahead at most: an order may leave out a shard for ever


class Stream(NamedTuple):
    """What the ranks of a node read of a set, step by step."""

    shards: tuple[StoredFile, ...]
    side_files: tuple[StoredFile, ...]  # read at each step
    shard_of: np.ndarray  # (S,) int64, number of the shard that each sample is in
    order: Order
    ranks_here: tuple[int, ...]
    ranks: int
    companions: tuple[StoredFile, ...] = ()  # read with each shard: its proposals; or none at all

    def files(self, number: int) -> tuple[StoredFile, ...]:
        """What is read of a shard: itself, and its companion."""
        return (self.shards[number], *self.companions[number : number + 1])

    def bytes(self, number: int) -> int:
        """The length of these files."""
        return sum(file.bytes for file in self.files(number))

    def shards_at(self, step: int) -> list[int]:
        """Numbers of the remote shards that are read at a step."""
        slots = [self.order.slots(step, rank, self.ranks) for rank in self.ranks_here]
        samples = [each.samples for each in slots]
        samples += [each.companions.ravel() for each in slots if each.companions is not None]
        numbers = dict.fromkeys(self.shard_of[np.concatenate(samples)].tolist())
        return [number for number in numbers if self.shards[number].is_remote]


class Lookahead:
    """Looks as far ahead in a stream as a cache has room for.

    Args:
        stream: what is read.
        max_bytes: of all files that are wanted at a time.
    """

    def __init__(self, stream: Stream, max_bytes: int) -> None:
        self.stream = stream
        self._side_files = [file for file in stream.side_files if file.is_remote]
        self._room = max_bytes - sum(file.bytes for file in self._side_files)
        self._remote_shards = sum(file.is_remote for file in stream.shards)
        self._first = self._next = 0
        self._last_use: dict[int, int] = {}  # of each wanted shard, among the steps looked at

    def wanted(self, step: int) -> Sequence[StoredFile]:
        """The files of `step` and of as many later steps as there is room for, the next ones first.

        The files of `step` itself are always among them.
        """
        if not self._first <= step <= self._next:
            self._next = step
            self._last_use = {}
        self._first = step
        self._last_use = {n: last for n, last in self._last_use.items() if last >= step}
        bytes_wanted = sum(map(self.stream.bytes, self._last_use))
        horizon = step + EPOCHS * self.stream.order.steps
        while self._next == step or (
            self._next < horizon and len(self._last_use) < self._remote_shards
        ):
            shards = self.stream.shards_at(self._next)
            new = [n for n in shards if n not in self._last_use]
            bytes_wanted += sum(map(self.stream.bytes, new))
            if bytes_wanted > self._room and self._next > step:
                break
            # A dictionary keeps the place of a key that is set again: that of its first use.
            self._last_use.update(dict.fromkeys(shards, self._next))
            self._next += 1
        files = [file for number in self._last_use for file in self.stream.files(number)]
        return [*self._side_files, *files]
