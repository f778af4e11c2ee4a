"""The files of a cache on a node's disk: which are whole, which are being fetched, which must go.

A file is named by its SHA-256, so sets and runs share what they have in common. Beside `<sha256>`:

    <sha256>.part    being fetched; its lock says by whom, its length how much room is taken
    <sha256>.ok      what the file looked like when its checksum was right; its time is the last use
    <sha256>.failed  why the process that fetched it last has given up

Lengths and names change under the lock of the whole folder, held for milliseconds.
"""

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lit_detseg.data.remote.locks import locked, remove_unheld
from lit_detseg.data.remote.urls import StoredFile
from lit_detseg.structures import UserError

LOCK = "lock"
TOUCH_EVERY = 1.0  # seconds; a worker opens a shard many times a second
SHA256 = re.compile("[0-9a-f]{64}")


class _Whole(NamedTuple):
    """A file that has been fetched."""

    last_use: int  # nanoseconds; 0 where unknown
    bytes: int
    name: str


class Fetching(NamedTuple):
    """A file that another process is fetching."""

    name: str
    bytes: int
    last_sign_of_life: int  # nanoseconds


class CacheFolder:
    """A folder with a size limit, shared by the processes of a node.

    Args:
        folder: made if it is not there, for this user alone.
        max_bytes: limit of what is whole and what is being fetched together.
        silence: seconds without a sign of life after which another process is not waited for.

    Raises:
        UserError: when the folder belongs to somebody else, or somebody else can write to it.
    """

    def __init__(self, folder: Path, max_bytes: int, silence: float) -> None:
        _prepare(folder)
        self.folder = folder
        self.max_bytes = max_bytes
        self.silence = silence
        self._verified: dict[str, str] = {}  # what each file looked like, as last read from `.ok`
        self._touched: dict[str, float] = {}

    def path(self, file: StoredFile, suffix: str = "") -> Path:
        """Where a file is, or something about it."""
        if not SHA256.fullmatch(file.sha256):
            raise UserError(f"{file}: its index gives {file.sha256!r} as SHA-256. Pack it again.")
        return self.folder / f"{file.sha256}{suffix}"

    def open_verified(self, file: StoredFile) -> int | None:
        """A descriptor of a file that is here, untouched since its checksum was right."""
        try:
            descriptor = os.open(self.path(file), os.O_RDONLY)
        except FileNotFoundError:
            return None
        looks = _looks(descriptor)
        if self._verified.get(file.sha256) != looks:  # new here, or fetched again by another
            self._verified[file.sha256] = self._read(file, ".ok")
        if self._verified[file.sha256] == looks:
            if time.monotonic() - self._touched.get(file.sha256, -TOUCH_EVERY) >= TOUCH_EVERY:
                self.touch(file)
            return descriptor
        os.close(descriptor)
        return None

    def touch(self, file: StoredFile) -> None:
        """Note that a file is in use, or will be."""
        self._touched[file.sha256] = time.monotonic()
        with suppress(FileNotFoundError):  # it has just been evicted
            os.utime(self.path(file, ".ok"))

    def mark_verified(self, file: StoredFile, descriptor: int) -> None:
        """Note that the content behind `descriptor` is right, and has its final name."""
        with self._locked():
            if _same_file(descriptor, self.path(file)):
                self.path(file, ".ok").write_text(_looks(descriptor))

    def publish(self, file: StoredFile, descriptor: int) -> None:
        """Give the fetched file behind `descriptor` its final name."""
        with self._locked():
            os.replace(self.path(file, ".part"), self.path(file))
            self.path(file, ".ok").write_text(_looks(descriptor))
            self.path(file, ".failed").unlink(missing_ok=True)

    def remove(self, file: StoredFile) -> None:
        """Delete a file whose content is wrong."""
        with self._locked():
            self._remove(file.sha256)

    def reserve(self, file: StoredFile, descriptor: int) -> list[Fetching]:
        """Take the room that `file` needs; what was used longest ago goes.

        Args:
            file: about to be fetched.
            descriptor: of its `.part`.

        Returns:
            What other processes are fetching where that leaves too little room, and nothing was
            taken; otherwise nothing.
        """
        with self._locked():
            others = sorted(self._being_fetched(except_for=file.sha256))
            whole = sorted(self._whole())
            taken = sum(each.bytes for each in others) + sum(each.bytes for each in whole)
            excess = taken + file.bytes - self.max_bytes
            for each in whole:
                if excess <= 0:
                    break
                self._remove(each.name)
                excess -= each.bytes
            if excess > 0:
                return others
            os.ftruncate(descriptor, file.bytes)
            return []

    def used(self) -> int:
        """Bytes of the files that are whole."""
        return sum(each.bytes for each in self._whole())

    def failure(self, file: StoredFile, since: int) -> str:
        """Why another process has given the file up after `since` (nanoseconds); empty if none."""
        try:
            given_up = os.stat(self.path(file, ".failed")).st_mtime_ns
        except FileNotFoundError:
            return ""
        return self._read(file, ".failed") if given_up > since else ""

    def _locked(self) -> AbstractContextManager[int]:
        return locked(self.folder / LOCK, self.silence)

    def _read(self, file: StoredFile, suffix: str) -> str:
        try:
            return self.path(file, suffix).read_text()
        except FileNotFoundError:
            return ""

    def _remove(self, sha256: str) -> None:
        for suffix in ("", ".ok"):
            (self.folder / f"{sha256}{suffix}").unlink(missing_ok=True)

    def _whole(self) -> Iterator[_Whole]:
        for entry in os.scandir(self.folder):
            if SHA256.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    yield _Whole(_time_of(f"{entry.path}.ok"), entry.stat().st_size, entry.name)

    def _being_fetched(self, except_for: str) -> Iterator[Fetching]:
        for entry in os.scandir(self.folder):
            sha256, _, suffix = entry.name.partition(".")
            if suffix == "part" and sha256 != except_for:
                with suppress(FileNotFoundError):
                    found = entry.stat()
                    if found.st_size and not remove_unheld(entry.path):  # unheld: it was killed
                        yield Fetching(entry.name, found.st_size, found.st_mtime_ns)


def default_folder() -> Path:
    """`LIT_DETSEG_CACHE`, or a folder of this user's on the node's temporary disk."""
    if given := os.environ.get("LIT_DETSEG_CACHE"):
        return Path(given)
    base = os.environ.get("SLURM_TMPDIR") or tempfile.gettempdir()
    return Path(base) / f"lit_detseg_cache_{os.getuid()}"


def gigabytes(number: int) -> str:
    """A number of bytes, in words.

    >>> gigabytes(1_500_000_000)
    '1.5 GB'
    """
    return f"{number / 1e9:.3g} GB"


def free_bytes(folder: Path) -> int:
    """Room left on the disk of a folder."""
    return shutil.disk_usage(folder).free


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)  # a link in /tmp may be somebody else's
    except OSError as error:
        raise UserError(
            f"The cache folder {folder} cannot be made ({error.strerror}). Set "
            "`--data.cache_dir` or LIT_DETSEG_CACHE to a folder on the node's own disk."
        ) from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise UserError(
            f"The cache folder {folder} belongs to another user or can be written to by others, "
            "who could change what is trained on. Use a folder in it that does not exist yet, or "
            f"`chmod go-w {folder}`."
        )


def _looks(descriptor: int) -> str:
    """Length and time of a file; without a boot in between, as nothing was synced to the disk."""
    found = os.fstat(descriptor)
    return f"{_boot()} {found.st_size} {found.st_mtime_ns}"


@lru_cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # not Linux
        return "unknown"


def _time_of(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except FileNotFoundError:
        return 0


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
