"""Locks between the processes of a node: files, which the kernel unlocks when their holder dies."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lit_detseg.structures import UserError

FIRST_POLL, LONGEST_POLL = 0.002, 0.1  # seconds


@contextmanager
def locked(path: Path, silence: float) -> Iterator[int]:
    """Hold the lock of a file, which is made if it is not there and may be renamed meanwhile.

    Args:
        path: the file.
        silence: seconds. A holder shows that it is alive by writing to the file or touching it;
            one that has not for so long is not waited for any more.

    Yields:
        A descriptor of the file.

    Raises:
        UserError: when the holder is silent: stopped, or stuck in its file system.
    """
    descriptor = _acquire(path, silence)
    try:
        yield descriptor
    finally:
        # Unlocked explicitly: a child forked meanwhile would otherwise keep the lock.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def remove_unheld(path: str) -> bool:
    """Delete a file whose lock nobody holds.

    Returns:
        Whether it is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        unheld = _try_lock(descriptor)
        if unheld and _is_at(descriptor, Path(path)):
            os.unlink(path)
        return unheld
    finally:
        os.close(descriptor)


def _acquire(path: Path, silence: float) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _wait(descriptor, path, silence)
        except BaseException:
            os.close(descriptor)
            raise
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # its holder has renamed or removed it: begin again


def _wait(descriptor: int, path: Path, silence: float) -> None:
    poll, seen, since = FIRST_POLL, None, time.monotonic()
    while not _try_lock(descriptor):
        if (shown := os.fstat(descriptor).st_mtime_ns) != seen:
            seen, since = shown, time.monotonic()
        if time.monotonic() - since > silence:
            raise UserError(
                f"Another process on this node holds {path} and has done nothing for "
                f"{silence:.0f} s. Look for a stopped process of an earlier run, or for a cache "
                "folder on a file system that hangs."
            )
        time.sleep(poll)
        poll = min(2 * poll, LONGEST_POLL)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
