"""What a loader worker is: one thread, memory that it keeps, signals that are not its business.

A scheduler sends its signals to all processes of a job. Whether training stops is decided by the
training process; a worker that ended by itself would take the batches of the last steps with it.
"""

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

# Of the scheduler: "save and requeue" and "end".
_IGNORED = (signal.SIGUSR1, signal.SIGUSR2)
_SIGNALS = {*_IGNORED, signal.SIGTERM}
_fetch = getattr(signal, "sigtimedwait", None)  # says who sent a signal; macOS has none
_CHECK_SECONDS = 1.0

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20  # bytes; glibc accepts no more
_FREE_MEMORY_KEPT = 256 << 20  # bytes


@contextmanager
def signals_held_back() -> Iterator[None]:
    """While workers start: their signals wait until `start_worker` has said what becomes of them.

    Without this, a signal that hits a forked worker at once would run the handlers of the training
    process in it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(worker: int) -> None:
    """Set up a new worker process; DataLoader's `worker_init_fn`."""
    cv2.setNumThreads(0)
    _keep_freed_memory()
    for name in _IGNORED:
        signal.signal(name, signal.SIG_IGN)
    # Where senders are known, SIGTERM stays blocked in all threads, and the new one fetches it.
    fetched = set() if _fetch is None else {signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, fetched)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS - fetched)
    threading.Thread(target=_live_as_long_as_the_parent, daemon=True).start()


def _live_as_long_as_the_parent() -> None:
    """End the worker after the training process, or when that one sends a SIGTERM; nobody else's.

    DataLoader's workers look for their parent too, but not for one that died while they started,
    nor while they wait for room in a pipe that nobody reads any more.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a child
    forked_by = os.getppid()  # the same process, unless a fork server stands between
    while parent.is_alive() and os.getppid() == forked_by:
        if _fetch is None:
            time.sleep(_CHECK_SECONDS)
        elif (sent := _fetch({signal.SIGTERM}, _CHECK_SECONDS)) and sent.si_pid == parent.pid:
            break
    os._exit(0)


def _keep_freed_memory() -> None:
    """Let malloc reuse the memory of images instead of giving it back to the system each time.

    The system clears the pages it hands out, which costs more than to resize an image.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, _FREE_MEMORY_KEPT)
