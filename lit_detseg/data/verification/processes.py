"""Jobs in parallel processes, answered in order, of which a dying process takes one at most."""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Protocol, TypeVar

from lit_detseg.data.loading.worker_process import start_worker
from lit_detseg.data.packing.workers import end_with_parent

AHEAD = 3  # jobs per process that wait or are done: what bounds the memory


class Job(Protocol):
    """Something to check."""

    def check(self) -> object:
        """Do it."""


AnyJob = TypeVar("AnyJob", bound=Job)


def run_jobs(jobs: Iterable[AnyJob], workers: int) -> Iterator[tuple[AnyJob, object | None]]:
    """Each job with what its `check` returns, in order; with None when its process died.

    Args:
        jobs: taken as they are needed.
        workers: processes; 0 runs the jobs here.
    """
    if not workers:
        for job in jobs:
            yield job, job.check()
        return
    remaining = iter(jobs)
    pool = _pool(workers)
    waiting: deque[tuple[AnyJob, Future[object]]] = deque()
    try:
        while True:
            for job in islice(remaining, AHEAD * workers - len(waiting)):
                waiting.append((job, _submit(pool, job)))
            if not waiting:
                return
            job, future = waiting.popleft()
            try:
                yield job, future.result()
            except BrokenProcessPool:  # by this job or by one of those behind it
                pool.shutdown(cancel_futures=True)
                yield job, _alone(job)
                pool = _pool(workers)
                waiting = deque((job, _submit(pool, job)) for job, _ in waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _alone(job: AnyJob) -> object | None:
    """The answer of a job in a process of its own, None when it dies too."""
    with _pool(1) as pool:
        try:
            return _submit(pool, job).result()
        except BrokenProcessPool:
            return None


def _submit(pool: ProcessPoolExecutor, job: AnyJob) -> Future[object]:
    try:
        return pool.submit(_check, job)
    except BrokenProcessPool as error:
        future: Future[object] = Future()
        future.set_exception(error)
        return future


def _check(job: Job) -> object:
    return job.check()


def _pool(workers: int) -> ProcessPoolExecutor:
    # Forked: what is imported here would take seconds in each process.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _start)


def _start() -> None:
    """Set up a process: it leaves Ctrl-C to its parent, and ends with it."""
    start_worker(0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
