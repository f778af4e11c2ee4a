"""Reads a shard set with two workers, as a training process does, for tests that send it signals.

Usage: python -m tests.data.loading.reading_process FOLDER HOW. After the first batch, `wait` reads
on to the end once a line has come in, and `quit` ends without a word to the workers; `late` is
`wait` with a second worker that takes its time to start.
"""

import os
import signal
import sys
import time
from multiprocessing import active_children

from lit_detseg.data.loading.batches import BatchReader
from lit_detseg.data.loading.loader import StepLoader
from lit_detseg.data.loading.worker_process import start_worker
from lit_detseg.data.order import EvaluationOrder
from lit_detseg.data.shards import ShardReader

KEPT = []


def start_late(worker):
    time.sleep(2 * worker)
    start_worker(worker)


def main(folder: str, how: str) -> None:
    received = []
    for name in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(name, lambda number, frame: received.append(signal.Signals(number).name))
    reader = ShardReader([folder])
    persistent = how == "quit"
    loader = StepLoader(
        BatchReader(reader),
        EvaluationOrder(len(reader), 2),
        num_workers=2,
        persistent_workers=persistent,
    )
    if how == "late":
        loader._loader.worker_init_fn = start_late
    batches = iter(loader)
    images = list(next(batches).annotations.image_ids)
    workers = sorted(child.pid for child in active_children())
    print(os.getpid(), *workers, flush=True)
    if how == "quit":
        KEPT.append((loader, batches))  # nothing but the interpreter's end ends the workers
        sys.exit()
    sys.stdin.readline()
    for batch in batches:
        images += batch.annotations.image_ids
    print(images == reader.keys.tolist(), sorted(received), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
