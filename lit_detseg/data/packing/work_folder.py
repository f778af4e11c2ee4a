"""A folder that appears under its name when everything in it is on the disk.

Until then its files are in `<name>.packing` (or another verb, see `Contents`):

    lock      held by the one attempt at work
    notes/    what became of each finished shard
    shards/   what will be `<name>`

An attempt that is killed leaves that folder, and the next one goes on in it.
"""

import errno
import fcntl
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lit_detseg.errors import UserError
from lit_detseg.runs.directory import sync_path

LOCK_PATIENCE = 3.0  # seconds; workers of a killed attempt notice its end within a fraction of one
TEMPORARY = ".*.tmp"


@dataclass(frozen=True)
class Contents:
    """What a kind of folder is made of, and how messages speak of it."""

    files: tuple[str, ...] = ("shard-*.tar",)  # patterns, without the index
    noun: str = "shard"  # for one of them
    kind: str = "shard set"  # for the folder
    verb: str = "packing"  # while it is made
    option: str = "--out"  # that names it


SHARD_SET = Contents()


class RefusedError(UserError):
    """The input has to be mended: what was packed of it is removed."""


@dataclass(frozen=True)
class WorkFolder:
    """The place of an unfinished folder.

    Args:
        out: the folder to be, absolute.
        index: name of the file that is written last and makes it whole.
        contents: what else is in it.
    """

    out: Path
    index: str
    contents: Contents = SHARD_SET

    @property
    def root(self) -> Path:
        """Of all that is unfinished."""
        return self.out.with_name(f"{self.out.name}.{self.contents.verb}")

    @property
    def shards(self) -> Path:
        """The folder that will be `out`."""
        return self.root / "shards"

    @property
    def notes(self) -> Path:
        """The folder of the notes."""
        return self.root / "notes"

    def keep_only(self, names: set[str]) -> None:
        """Remove files of earlier attempts that had more shards, or others."""
        for pattern in self.contents.files:
            for path in self.shards.glob(pattern):
                if path.name not in names:
                    path.unlink()

    def publish(self) -> None:
        """Give `shards` the name `out`, in place of what had it."""
        replaced = _replaced(self.out)
        sync_path(self.shards)
        if self.out.exists():
            self.out.rename(replaced)
        self.shards.rename(self.out)
        sync_path(self.out.parent)
        remove_packed(replaced, self.index, self.contents)

    def make(self) -> None:
        """Make what is missing, and remove files that a killed attempt was writing."""
        for folder in (self.shards, self.notes):
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.glob(TEMPORARY):
                path.unlink()

    def remove(self) -> None:
        """Remove all that is unfinished."""
        if self.root.is_dir():
            _refuse_foreign(self.root, ["lock", "notes", "shards"], self.contents)
            if self.shards.is_dir():
                known = [*self.contents.files, TEMPORARY, self.index]
                _refuse_foreign(self.shards, known, self.contents)
            shutil.rmtree(self.root)


@contextmanager
def work_folder(
    out: Path, index: str, overwrite: bool, contents: Contents = SHARD_SET
) -> Iterator[WorkFolder]:
    """A folder to be made or gone on with, for this process alone.

    It is removed when the block ends well, or with `RefusedError`. After any other end, what is
    finished of it stays.

    Args:
        out: the folder to be; its parents are made.
        index: name of the file that is written last.
        overwrite: whether `out` may be there and whole, to be replaced.
        contents: what else is in it.

    Raises:
        UserError: when `out` is in the way, another process is packing it, or the disk is full.
    """
    folder = WorkFolder(out.absolute(), index, contents)
    try:
        _check_free(folder, overwrite)
    except UserError:
        remove_leftovers(folder.out, index, contents)
        raise
    with _full_disk_said(out, folder), _lock(folder):
        try:
            _check_free(folder, overwrite)
        except UserError:
            if not folder.shards.exists():  # made by another process since, which is done
                folder.remove()
            raise
        remove_packed(_replaced(folder.out), index, contents)
        folder.make()
        try:
            yield folder
        except RefusedError:
            folder.remove()
            raise
        folder.remove()


def remove_leftovers(out: Path, index: str, contents: Contents = SHARD_SET) -> None:
    """Remove what an attempt left that was killed after `out` had its name."""
    folder = WorkFolder(out.absolute(), index, contents)
    if folder.root.is_dir() and not folder.shards.exists():
        with _lock(folder):
            folder.remove()


def remove_packed(folder: Path, index: str, contents: Contents = SHARD_SET) -> None:
    """Delete a folder of shards, if there is one."""
    if folder.is_dir():
        _refuse_foreign(folder, [*contents.files, index], contents)
        shutil.rmtree(folder)


@contextmanager
def _full_disk_said(out: Path, folder: WorkFolder) -> Iterator[None]:
    """Turn a full disk into a message: what is finished is kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"No room for {out} ({error.strerror}). Finished {folder.contents.noun}s are kept in "
            f"{folder.root.name}: make room and run the same command again to go on."
        ) from error


@contextmanager
def _lock(folder: WorkFolder) -> Iterator[None]:
    """Hold the lock of a folder; released by the end of this process and its workers, however."""
    until = time.monotonic() + LOCK_PATIENCE
    while (descriptor := _try_lock(folder.root)) is None:
        if time.monotonic() > until:
            raise UserError(
                f"Another process is {folder.contents.verb} {folder.out} (it holds "
                f"{folder.root / 'lock'}). Wait for it, end it, or choose another "
                f"{folder.contents.option}."
            )
        time.sleep(0.02)
    try:
        yield
    finally:
        os.close(descriptor)


def _try_lock(root: Path) -> int | None:
    """An open descriptor that holds the lock, or None."""
    root.mkdir(parents=True, exist_ok=True)
    path = root / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except FileNotFoundError:  # the folder was finished and removed at this moment
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:  # a file system without locks
        warnings.warn(
            f"{path} cannot be locked ({error.strerror}): do not pack into it twice at once.",
            stacklevel=1,
        )
        return descriptor
    os.close(descriptor)
    return None


def _replaced(out: Path) -> Path:
    return out.with_name(f"{out.name}.replaced")


def _check_free(folder: WorkFolder, overwrite: bool) -> None:
    """Stop when the folder to be is in the way and may not be replaced."""
    out, contents = folder.out, folder.contents
    if _replaced(out).is_dir() and not out.exists():
        _replaced(out).rename(out)  # a killed attempt left it between two renames
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. Choose another {contents.option}.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise UserError(
            f"{out} is not empty. Choose another {contents.option}, or give --overwrite."
        )
    if not (out / folder.index).is_file():
        raise UserError(
            f"{out} is not a {contents.kind}, so --overwrite leaves it alone: move it away."
        )
    _refuse_foreign(out, [*contents.files, folder.index], contents)


def _refuse_foreign(folder: Path, known: list[str], contents: Contents) -> None:
    """Stop when a folder holds what is never written there."""
    foreign = [
        path.name
        for path in sorted(folder.iterdir())
        if not any(path.match(pattern) for pattern in known)
    ]
    if foreign:
        raise UserError(
            f"{folder} holds more than {contents.noun}s ({', '.join(foreign[:5])}), and would be "
            "deleted. Move that away first."
        )
