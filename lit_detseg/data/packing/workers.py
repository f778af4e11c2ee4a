"""Shards, or smaller tasks, to worker processes, one at a time, until all are done.

Workers are forked: they inherit the opened data set as shared memory. Each talks to the process
that started it through a connection of its own, by which each side also notices the other's death.
"""

import ctypes
import gc
import os
import pickle
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

import cv2

from lit_detseg.errors import UserError

Done = Callable[[int], None]  # images finished since the last call
Progress = Callable[[int, int], None]  # images done, images in all
Task = Callable[[int, Done], bool]
REPORT_EVERY = 0.1  # seconds
_PR_SET_PDEATHSIG = 1  # of Linux's prctl.h


@dataclass(frozen=True)
class _Finished:
    """A worker's word that a task is done."""

    result: bool


@dataclass
class _Worker:
    process: Any
    task: int  # what it is at, for messages


def run_tasks(
    task: Task, numbers: Sequence[int], workers: int, done: Done, noun: str = "shard"
) -> dict[int, bool]:
    """Run `task(number, done)` for all numbers; the result of each.

    Args:
        task: the same from any process, whatever was run before.
        numbers: what to run it for.
        workers: processes; with 1, everything happens in this one.
        done: called in this process.
        noun: what a number stands for, for messages.

    Raises:
        UserError: when a worker dies. What a task raises comes through; all workers are ended.
    """
    workers = min(workers, len(numbers))
    if workers <= 1:
        return {number: task(number, done) for number in numbers}
    return _Crew(task, numbers, done, noun).run(workers)


def counter(progress: Progress | None, total: int) -> Done:
    """A function that is told of images just finished, and tells how many are."""
    finished = 0

    def done(images: int) -> None:
        nonlocal finished
        finished += images
        if progress is not None and images:
            progress(finished, total)

    return done


class _Crew:
    """The workers of one run."""

    def __init__(self, task: Task, numbers: Sequence[int], done: Done, noun: str) -> None:
        self.task, self.done, self.noun = task, done, noun
        self.waiting = deque(numbers)
        self.workers: dict[Connection, _Worker] = {}
        self.results: dict[int, bool] = {}

    def run(self, workers: int) -> dict[int, bool]:
        """Start the workers, and answer them until nothing is left."""
        try:
            for _ in range(workers):
                self._start()
            while self.workers:
                for connection in wait(list(self.workers)):
                    assert isinstance(connection, Connection)
                    self._hear(connection)
        finally:
            for worker in self.workers.values():
                worker.process.kill()
            for worker in self.workers.values():
                worker.process.join()
        return self.results

    def _start(self) -> None:
        ours, theirs = get_context("fork").Pipe()
        inherited = [*self.workers, ours]
        process = get_context("fork").Process(
            target=_work, args=(self.task, theirs, inherited), daemon=True
        )
        process.start()
        theirs.close()
        number = self.waiting.popleft()
        self.workers[ours] = _Worker(process, number)
        ours.send(number)

    def _hear(self, connection: Connection) -> None:
        """Take one message of a worker."""
        worker = self.workers[connection]
        try:
            message = connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._death(worker) from None
        if isinstance(message, BaseException):
            raise message
        if isinstance(message, int):
            self.done(message)
            return
        self.results[worker.task] = message.result
        if self.waiting:
            worker.task = self.waiting.popleft()
            connection.send(worker.task)
        else:
            connection.close()
            worker.process.join()
            del self.workers[connection]

    def _death(self, worker: _Worker) -> UserError:
        worker.process.join()
        code = worker.process.exitcode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return UserError(
            f"A worker was ended {how} at {self.noun} {worker.task}"
            + (", perhaps for want of memory. " if code == -signal.SIGKILL else ". ")
            + f"Finished {self.noun}s are kept: run the same command again to go on, with fewer "
            "--workers if memory was short."
        )


def _work(task: Task, connection: Connection, inherited: list[Connection]) -> None:
    """The life of a worker; ends when the connection does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    end_with_parent()  # it would notice at its next word, which a long computation is far from
    try:
        for other in inherited:  # so that it closes when that process ends
            other.close()
        cv2.setNumThreads(0)  # its threads, if there were any, did not survive the fork
        gc.freeze()  # marking what is inherited would copy it
        while True:
            number = connection.recv()
            report = _Report(connection)
            result = task(number, report)
            report.send()
            connection.send(_Finished(result))
    except EOFError:
        pass
    except BaseException as error:
        _tell(connection, error)
    finally:
        os._exit(0)  # nothing else of the inherited process is to be tidied up here


def end_with_parent() -> None:
    """Let Linux kill this process as soon as its parent ends, however that happens."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Report:
    """Tells of finished images a few times a second."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.unsent = 0
        self.last = time.monotonic()

    def __call__(self, images: int) -> None:
        self.unsent += images
        if time.monotonic() - self.last > REPORT_EVERY:
            self.send()

    def send(self) -> None:
        """Tell of all that were not told of; fails when nobody listens any more."""
        self.connection.send(self.unsent)
        self.unsent, self.last = 0, time.monotonic()


def _tell(connection: Connection, error: BaseException) -> None:
    """Send an exception, with the traceback that would get lost on the way."""
    text = "".join(traceback.format_exception(error))
    try:
        if not isinstance(error, UserError):
            error.add_note(f"In a worker:\n{text}")
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"In a worker:\n{text}")
    with suppress(OSError):  # when nobody listens any more
        connection.send(error)
