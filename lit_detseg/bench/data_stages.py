"""Where the time and the memory of our loader's workers go."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from lit_detseg.bench.pipelines import our_batches, our_loader
from lit_detseg.data.images import decode
from lit_detseg.data.loading.batches import BatchReader
from lit_detseg.data.loading.handover import SharedBatches, forget
from lit_detseg.data.loading.worker_process import start_worker
from lit_detseg.data.order import Slots
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import Sample, apply, inside_canvas

MEGABYTE = 1e6
EPOCHS = 10  # over which workers shall not grow
WARM_EPOCH = 1  # the second: all memory that is reused has been asked for


@dataclass(frozen=True)
class WorkerMemory:
    """The worker that has most, or grew most; MB."""

    peak: float  # resident at most, with what it shares with the training process
    own: float  # shared with no process, after the last epoch
    growth: float  # resident after the last epoch, less that after the second
    descriptor_growth: int  # likewise, open files


class _StageClock(Dataset[Any]):
    """Does the work of a batch twice, first in pieces, and says how long each took."""

    def __init__(self, batches: BatchReader) -> None:
        self.batches = batches
        self.shared = SharedBatches(batches)
        self.seconds: dict[str, float] = {}

    def __getitem__(self, slots: Slots) -> tuple[dict[str, float], Any]:
        """Seconds of a worker's CPU by stage, and the batch on its way to the parent."""
        assert slots.seeds is not None  # as in training
        reader, self.seconds = self.batches.reader, {}
        for number, seed in zip(slots.samples.tolist(), slots.seeds.tolist(), strict=True):
            with self._timed("read"):
                data = reader.image_bytes(number)
            with self._timed("decode"):
                image = decode(data)
            with self._timed("record and masks"):
                objects = reader.record(number).objects
            with self._timed("transforms"):
                sample = Sample.from_objects(image, objects)
                inside_canvas(apply(self.batches.transforms, sample, seed))
        with self._timed("all"):
            handed_over = self.shared[slots]
        whole = self.seconds.pop("all")
        self.seconds["collate"] = whole - sum(self.seconds.values())
        return self.seconds, handed_over

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.thread_time()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.thread_time() - start


def stage_costs(shards: Path, advance: Callable[[], None]) -> dict[str, float]:
    """Milliseconds of CPU per image in a worker, by stage, in the order of the work.

    Args:
        shards: a COCO-like set.
        advance: called after each of two epochs, of which the second counts.
    """
    loader = our_loader(shards, workers=0)
    clock = _StageClock(our_batches(ShardReader(shards)))
    iteration = clock.shared.start()
    timed = DataLoader(
        clock,
        sampler=_Rounds(loader.slots, advance),  # type: ignore[arg-type]
        batch_size=None,
        collate_fn=_as_it_is,
        num_workers=1,
        worker_init_fn=start_worker,
    )
    rows = [(seconds, len(batch.sizes)) for seconds, batch in timed]
    forget(iteration)
    counted = rows[len(rows) // 2 :]
    images = sum(count for _, count in counted)
    return {
        stage: 1000 * sum(seconds[stage] for seconds, _ in counted) / images
        for stage in counted[0][0]
    }


class _Rounds:
    """The slots of an epoch, twice."""

    def __init__(self, slots: Callable[[], Iterator[Slots]], advance: Callable[[], None]) -> None:
        self.slots = slots
        self.advance = advance

    def __iter__(self) -> Iterator[Slots]:
        for _ in range(2):
            yield from self.slots()
            self.advance()


def worker_memory(shards: Path, workers: int, advance: Callable[[], None]) -> WorkerMemory:
    """What persistent workers hold over `EPOCHS` epochs.

    Args:
        shards: a COCO-like set.
        workers: how many, at least 1.
        advance: called after each epoch.
    """
    loader = our_loader(shards, workers, persistent_workers=True)
    others = {child.pid for child in active_children()}
    resident: list[dict[int, float]] = []
    descriptors: list[dict[int, int]] = []
    for _ in range(EPOCHS):
        for _ in loader:
            pass
        processes = [child.pid for child in active_children() if child.pid not in others]
        resident.append({p: _megabytes(p, "status", "VmRSS") for p in processes if p})
        descriptors.append({p: len(os.listdir(f"/proc/{p}/fd")) for p in processes if p})
        advance()
    found = WorkerMemory(
        peak=max(_megabytes(p, "status", "VmHWM") for p in resident[-1]),
        own=max(_megabytes(p, "smaps_rollup", "Private") for p in resident[-1]),
        growth=max(resident[-1][p] - resident[WARM_EPOCH][p] for p in resident[-1]),
        descriptor_growth=max(
            descriptors[-1][p] - descriptors[WARM_EPOCH][p] for p in descriptors[-1]
        ),
    )
    loader.close()
    return found


def _megabytes(process: int, file: str, name: str) -> float:
    """The sum of the lines that begin with `name` in a file of Linux's /proc, which are in kB."""
    lines = Path(f"/proc/{process}/{file}").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(name)) / MEGABYTE


def _as_it_is(pair: Any) -> Any:
    return pair
