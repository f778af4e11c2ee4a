"""Batches in the order that `order.py` says, read ahead by worker processes.

These loaders hold a DataLoader and are none: Lightning rebuilds the DataLoaders it is given (with
a distributed sampler, for predictions, to overfit), and would change who reads what.
"""

import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lit_detseg.data.loading.batches import BatchReader, PackedBatch
from lit_detseg.data.loading.handover import SharedBatches, forget
from lit_detseg.data.loading.worker_process import signals_held_back, start_worker
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
        self._shared = _shared(batches, options) if options.get("num_workers") else None
        self._iteration = ""  # of the workers started last
        self._loader = DataLoader(
            batches if self._shared is None else self._shared,
            sampler=_StepSampler(self),
            batch_size=None,  # what the sampler yields is a whole batch already
            collate_fn=_as_it_is,
            worker_init_fn=start_worker,
            generator=torch.Generator(),  # the global one would move with each epoch's workers
            **options,
        )

    def steps(self) -> range:
        """The steps that the next iteration goes through."""
        return range(self.order.steps)

    def slots(self) -> Iterator[Slots]:
        """What the next iteration reads."""
        order, rank, ranks = self.order, self.rank, self.ranks  # no `self`: see `_StepSampler`
        return (order.slots(step, rank, ranks) for step in self.steps())

    def __len__(self) -> int:
        """Steps in a whole epoch."""
        return self.order.steps

    def __iter__(self) -> Iterator[PackedBatch]:
        iterator, iteration = self._start()
        try:
            yield from iterator
        finally:
            # An iterator that waits for the garbage collector, after an error, would be inherited
            # by the next workers.
            if not self._loader.persistent_workers:
                _end_workers(iterator)
                forget(iteration)

    def _start(self) -> tuple[Iterator[PackedBatch], str]:
        """An iterator over new or persistent workers, and the name of what they hand over."""
        if self._shared is not None and self._loader._iterator is None:
            self._iteration = self._shared.start()
            if self._loader.persistent_workers:  # in case that nobody calls `close`
                weakref.finalize(self, forget, self._iteration)
        with signals_held_back():
            return iter(self._loader), self._iteration

    def close(self) -> None:
        """End persistent workers."""
        _end_workers(self._loader._iterator)
        self._loader._iterator = None
        forget(self._iteration)


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


def loader_options(
    trainer: Any, num_workers: int, prefetch_factor: int, persistent_workers: bool
) -> dict[str, Any]:
    """What a rank's loader is made with.

    Rank and world size are known in the training process; a worker process that is not forked knows
    neither.

    Args:
        trainer: a `lightning.Trainer`, or None outside of one.
        num_workers: processes per rank; 0 reads in this one.
        prefetch_factor: batches that each worker keeps ready.
        persistent_workers: keep the workers between epochs.
    """
    workers = num_workers > 0
    return {
        "rank": 0 if trainer is None else trainer.global_rank,
        "ranks": 1 if trainer is None else trainer.world_size,
        "num_workers": num_workers,
        "prefetch_factor": prefetch_factor if workers else None,
        "persistent_workers": persistent_workers and workers,
        "pin_memory": trainer is not None and trainer.strategy.root_device.type == "cuda",
    }


class _StepSampler:
    """What DataLoader asks for indices: here an index is the slots of a whole step."""

    def __init__(self, loader: StepLoader) -> None:
        # A loader in a cycle would wait for the garbage collector, which ends the queues to the
        # workers before the workers: they would not hear that they are to end.
        self._loader = weakref.proxy(loader)

    def __iter__(self) -> Iterator[Slots]:
        return self._loader.slots()

    def __len__(self) -> int:
        return len(self._loader)


def _shared(batches: Dataset[PackedBatch], options: dict[str, Any]) -> SharedBatches | None:
    """The same batches in shared memory, where the system has it and they can be written to it."""
    if isinstance(batches, BatchReader) and hasattr(os, "memfd_create"):  # Linux
        return SharedBatches(batches, options.get("prefetch_factor") or 2)  # DataLoader's own
    return None


def _as_it_is(batch: Any) -> Any:
    return batch


def _end_workers(iterator: Any) -> None:
    if hasattr(iterator, "_shutdown_workers"):  # there are none without `num_workers`
        iterator._shutdown_workers()
