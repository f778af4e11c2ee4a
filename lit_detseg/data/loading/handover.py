"""Batches from loader workers to the training process, in memory that both see.

A worker writes a batch where the training process reads it, and what goes through the pipe is a few
numbers. Each worker has as many pieces of memory as are in use at a time, and reuses them: memory
that is new to a process costs more to touch than an image to resize. Nothing of this is visible
outside: the loader yields `PackedBatch`es, whose pixels lie in such a piece until the last tensor
that shows them is gone.

The pieces are anonymous files (`memfd`), not files in /dev/shm, which containers keep small.

Names:
    piece: a header of 64 bytes, the pixels of a batch, and its other fields, pickled.
    taken: first byte of a piece. The worker sets it before it writes; the training process clears
           it when nothing shows the pixels any more.
"""

import mmap
import os
import pickle
import uuid
import weakref
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lit_detseg.data.loading.batches import Annotations, BatchReader, PackedBatch, lay_out
from lit_detseg.data.loading.proposals import PackedProposals
from lit_detseg.data.order import Slots
from lit_detseg.structures import InstanceMasks

HEADER = 64  # bytes; the pixels behind it are aligned for any vector instruction
FREE, TAKEN = 0, 1
IN_USE = 2  # batches of one worker that the training process holds at a time, besides those waiting
MOST_PIECES = 16  # of a worker; beyond, somebody collects batches, and none is reused
ROOM = 1.25  # a new piece is larger than its first batch: the next one may be

# The pieces that the training process has opened: by iteration, then by worker and number.
_opened: dict[str, dict[tuple[int, int], np.ndarray]] = {}


class SharedBatches(Dataset[Any]):
    """What a `BatchReader` reads, handed over by the workers without a copy of the pixels.

    Args:
        batches: reads the batches.
        prefetch_factor: batches that a worker keeps ready.
    """

    def __init__(self, batches: BatchReader, prefetch_factor: int = 2) -> None:
        self.batches = batches
        self.prefetch_factor = prefetch_factor
        self._iteration = ""
        self._pieces: _Pieces | None = None  # in a worker

    def start(self) -> str:
        """Begin an iteration with new workers; call `forget` with the result at its end."""
        self._iteration = uuid.uuid4().hex
        _opened[self._iteration] = {}
        return self._iteration

    def __getitem__(self, slots: Slots) -> "_Handover":
        """Read a batch into a piece of memory; called in a worker."""
        if self._pieces is None:
            self._pieces = _Pieces(self.prefetch_factor + IN_USE)
        images, batch = self.batches.read(slots)
        fields = _to_bytes(batch)
        shape = tuple(batch.pixels.shape)
        size = int(np.prod(shape))
        piece = self._pieces.take(HEADER + size + len(fields))
        memory = piece.memory
        lay_out(images, memory[HEADER : HEADER + size].reshape(shape))
        memory[HEADER + size : HEADER + size + len(fields)] = np.frombuffer(fields, np.uint8)
        return _Handover(self._iteration, piece, shape, len(fields))


def forget(iteration: str) -> None:
    """Let go of the pieces of an iteration whose workers have ended; batches in use stay valid."""
    _opened.pop(iteration, None)


class _Piece:
    """A piece of memory as its worker sees it."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.descriptor = os.memfd_create(f"batch{number}")
        os.ftruncate(self.descriptor, size)
        self.memory = np.frombuffer(mmap.mmap(self.descriptor, size), dtype=np.uint8)
        self.is_known = False  # to the training process
        self.is_reused = False
        self.replaces: int | None = None  # the number of a piece that was too small
        weakref.finalize(self, os.close, self.descriptor)


class _Pieces:
    """The pieces of a worker, used in turns, so that its memory is soon what it will stay.

    Args:
        usual: how many it makes in any case; more, where more are in use at a time.
    """

    def __init__(self, usual: int) -> None:
        self.usual = usual
        self._pieces: list[_Piece] = []  # the one that was not used for longest comes first
        self._made = 0

    def take(self, size: int) -> _Piece:
        """A piece of at least `size` bytes that nobody reads; a new one if need be."""
        free = [piece for piece in self._pieces if piece.memory[0] == FREE]
        fitting = [piece for piece in free if len(piece.memory) >= size]
        if fitting and len(self._pieces) >= self.usual:
            piece = fitting[0]
            self._pieces.remove(piece)
        else:
            piece = self._new(size)
            if free and not fitting:
                piece.replaces = free[0].number
                self._pieces.remove(free[0])
        piece.is_reused = len(self._pieces) < max(self.usual, MOST_PIECES)
        if piece.is_reused:
            self._pieces.append(piece)
        piece.memory[0] = TAKEN
        return piece

    def _new(self, size: int) -> _Piece:
        pages = -(-int(size * ROOM) // mmap.PAGESIZE)
        piece = _Piece(self._made, pages * mmap.PAGESIZE)
        self._made += 1
        return piece


class _Handover:
    """What goes through the pipe; unpickling it in the training process gives the batch."""

    def __init__(
        self, iteration: str, piece: _Piece, shape: tuple[int, ...], field_bytes: int
    ) -> None:
        self.iteration = iteration
        self.piece = piece
        self.shape = shape
        self.field_bytes = field_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        piece = self.piece
        handle = None if piece.is_known else DupFd(piece.descriptor)
        replaces, piece.replaces = piece.replaces, None
        piece.is_known = True
        key = (os.getpid(), piece.number)
        identity = (self.iteration, key, handle, piece.is_reused, replaces)
        return _receive, (*identity, self.shape, self.field_bytes)


def _receive(
    iteration: str,
    key: tuple[int, int],
    handle: Any,
    is_reused: bool,
    replaces: int | None,
    shape: tuple[int, ...],
    field_bytes: int,
) -> PackedBatch:
    """The batch in a piece of memory, in the training process.

    Args:
        iteration: to which the worker belongs.
        key: process number of the worker and number of the piece.
        handle: gives the piece's file descriptor, the first time that it is seen.
        is_reused: whether it will be seen again.
        replaces: the number of a piece of the same worker that is not used any more.
        shape: of the pixels.
        field_bytes: length of the pickled fields behind them.
    """
    pieces = _opened.get(iteration, {})
    if replaces is not None:
        pieces.pop((key[0], replaces), None)
    memory = pieces[key] if handle is None else _open(handle.detach())
    if is_reused:
        pieces[key] = memory
    behind = HEADER + int(np.prod(shape))
    batch = _from_bytes(memory[behind : behind + field_bytes])
    pixels = memory[HEADER:behind]  # a view of its own, which torch keeps as long as the tensor
    weakref.finalize(pixels, _release, memory, os.getpid()).atexit = False
    return batch._replace(pixels=torch.from_numpy(pixels).view(shape))


def _open(descriptor: int) -> np.ndarray:
    try:
        return np.frombuffer(mmap.mmap(descriptor, os.fstat(descriptor).st_size), dtype=np.uint8)
    finally:
        os.close(descriptor)  # the mapping has its own


def _release(memory: np.ndarray, process: int) -> None:
    """Give a piece back to its worker, unless this is a copy of it in a forked process."""
    if process == os.getpid():
        memory[0] = FREE


def _to_bytes(batch: PackedBatch) -> bytes:
    """All fields but the pixels, as arrays: tensors pickle slowly."""
    tensors = (batch.sizes, batch.boxes, batch.labels, batch.seeds)
    arrays = [None if tensor is None else tensor.numpy() for tensor in tensors]
    masks = None if batch.masks is None else tuple(batch.masks)
    proposals = None
    if batch.proposals is not None:
        proposals = batch.proposals.boxes.numpy(), batch.proposals.counts
    return pickle.dumps((arrays, tuple(batch.annotations), masks, proposals), protocol=5)


def _from_bytes(fields: np.ndarray) -> PackedBatch:
    """Undo `_to_bytes`: the arrays are copies, so that they do not hold the pixels' memory."""
    (*arrays, seeds), annotations, masks, proposals = pickle.loads(fields.data)
    sizes, boxes, labels = map(torch.from_numpy, arrays)
    return PackedBatch(
        pixels=torch.empty(0),
        sizes=sizes,
        boxes=boxes,
        labels=labels,
        seeds=None if seeds is None else torch.from_numpy(seeds),
        annotations=Annotations(*annotations),
        masks=None if masks is None else InstanceMasks(*masks),
        proposals=(
            None
            if proposals is None
            else PackedProposals(torch.from_numpy(proposals[0]), proposals[1])
        ),
    )
