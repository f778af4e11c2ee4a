"""Batches in the order that `order.py` says, read ahead by worker processes.

These loaders hold a DataLoader and are none: Lightning rebuilds the DataLoaders it is given (with
a distributed sampler, for predictions, to overfit), and would change who reads what.
"""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from lit_detseg.data.batches import BatchReader, PackedBatch
from lit_detseg.data.order import Order, Slots


class StepLoader:
    """One rank's batches, step by step through one epoch: the same number on each rank.

    Args:
        batches: reads the images of a step.
        order: says which they are.
        rank: whose share is read.
        ranks: how many share.
        options: further arguments of the DataLoader (`num_workers`, `pin_memory`, ...).
    """

    def __init__(
        self, batches: BatchReader, order: Order, rank: int = 0, ranks: int = 1, **options: Any
    ) -> None:
        self.batches = batches
        self.order = order
        self.rank = rank
        self.ranks = ranks
        self._loader = DataLoader(
            batches,
            sampler=_StepSampler(self),
            batch_size=None,  # what the sampler yields is a whole batch already
            collate_fn=_as_it_is,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # the global one would move with each epoch's workers
            **options,
        )

    def steps(self) -> range:
        """The steps that the next iteration goes through."""
        return range(self.order.steps)

    def slots(self) -> Iterator[Slots]:
        """What the next iteration reads."""
        return (self.order.slots(step, self.rank, self.ranks) for step in self.steps())

    def __len__(self) -> int:
        """Steps in a whole epoch."""
        return self.order.steps

    def __iter__(self) -> Iterator[PackedBatch]:
        iterator = iter(self._loader)
        try:
            yield from iterator
        finally:
            # An iterator that waits for the garbage collector, after an error, would be inherited
            # by the next workers.
            if not self._loader.persistent_workers:
                _end_workers(iterator)

    def close(self) -> None:
        """End persistent workers."""
        _end_workers(self._loader._iterator)
        self._loader._iterator = None


class PositionedLoader(StepLoader):
    """A loader that goes on where training stands, in the middle of an epoch too.

    Args:
        batches: as in `StepLoader`; rank, ranks and options likewise.
        order: as in `StepLoader`.
        steps: asked at each start of an iteration which steps it goes through, counted from the
            start of training. Not given: on from the last step handed out, to the epoch's end.
    """

    def __init__(
        self,
        batches: BatchReader,
        order: Order,
        rank: int = 0,
        ranks: int = 1,
        steps: Callable[[], range] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(batches, order, rank, ranks, **options)
        self.step = 0
        self._ask_steps = steps

    def steps(self) -> range:
        """The steps that the next iteration goes through."""
        if self._ask_steps is not None:
            return self._ask_steps()
        return range(self.step, (self.step // self.order.steps + 1) * self.order.steps)

    def __iter__(self) -> Iterator[PackedBatch]:
        self.step = self.steps().start
        for batch in super().__iter__():
            self.step += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Steps handed out. Lightning calls a loader resumable that has this."""
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on behind the steps of `state`."""
        self.step = state["step"]


class _StepSampler:
    """What DataLoader asks for indices: here an index is the slots of a whole step."""

    def __init__(self, loader: StepLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[Slots]:
        return self._loader.slots()

    def __len__(self) -> int:
        return len(self._loader)


def _as_it_is(batch: Any) -> Any:
    return batch


def _end_workers(iterator: Any) -> None:
    if hasattr(iterator, "_shutdown_workers"):  # there are none without `num_workers`
        iterator._shutdown_workers()


def _start_worker(worker: int) -> None:
    """One thread per worker; the scheduler's signals are the training process's business."""
    cv2.setNumThreads(0)
    for name in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)
