"""Whole files of remote shard sets on a node's own disk, fetched once for all its processes."""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lit_detseg.data.remote.cache_folder import CacheFolder, default_folder, free_bytes, gigabytes
from lit_detseg.data.remote.fetching import Retries, download, persist
from lit_detseg.data.remote.locks import locked
from lit_detseg.data.remote.urls import StoredFile
from lit_detseg.structures import UserError

DEFAULT_MAX_BYTES = 50 * 10**9
HASHED_AT_ONCE = 2**20  # bytes
ROOM_POLL = 0.05  # seconds


class ShardCache:
    """Opens remote files as if they were local. Any number of processes may share a folder.

    A file is fetched by the first process that needs it, while the others wait for it. Its
    checksum is compared while it comes, and again from the disk when the file has been changed
    since, or the node has been booted. What was used longest ago is deleted when the limit would
    be exceeded; a file that is open stays readable until it is closed, as everywhere in POSIX.

    Args:
        folder: on the node's own disk; not given: `LIT_DETSEG_CACHE`, or a folder of this user's in
            `SLURM_TMPDIR` or `TMPDIR`.
        max_bytes: of all files in the folder together.
        retries: how long a transfer is tried.
        storage_options: of the fsspec file system: `endpoint_url`, `key`, `secret`, `anon` for S3,
            `client_kwargs` for HTTP.

    Raises:
        UserError: when the folder cannot be made, or others can write to it.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        retries: Retries | None = None,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.retries = Retries() if retries is None else retries
        self.max_bytes = max_bytes
        self.storage_options = dict(storage_options or {})
        self.folder = default_folder() if folder is None else Path(folder)
        self._files = CacheFolder(self.folder, max_bytes, self.retries.silence)

    def open(self, file: StoredFile) -> int:
        """A descriptor of the whole, right file; the caller closes it soon.

        Raises:
            UserError: naming the file, when it cannot be had.
        """
        descriptor = self._files.open_verified(file)
        if descriptor is not None:
            return descriptor
        with self._fetching(file) as part:
            descriptor = self._files.open_verified(file)  # another process has fetched it
            if descriptor is None:
                descriptor = self._verify_again(file, part)
            return self._fetch(file, part) if descriptor is None else descriptor

    def fetch(self, file: StoredFile) -> None:
        """Have a file here, until others need its room."""
        os.close(self.open(file))

    def holds(self, file: StoredFile) -> bool:
        """Whether a file is here and right; this counts as a use."""
        descriptor = self._files.open_verified(file)
        if descriptor is not None:
            os.close(descriptor)
        return descriptor is not None

    def keep(self, files: Sequence[StoredFile]) -> None:
        """Note that files will be needed, the first ones soonest."""
        for file in reversed(files):
            self._files.touch(file)

    def require(self, needed: int, what: str) -> None:
        """Refuse a cache that would fetch the same files again and again.

        Args:
            needed: bytes that are read in turns.
            what: a name for them, plural.

        Raises:
            UserError: with the numbers.
        """
        if needed > self.max_bytes:
            raise UserError(
                f"{what} take {gigabytes(needed)}, but the cache may hold "
                f"{gigabytes(self.max_bytes)} and would fetch them again and again. Raise "
                "`--data.cache_gb`, lower `--data.shuffle_window`, or pack smaller shards."
            )
        available = free_bytes(self.folder) + self._files.used()
        if needed > available:
            raise UserError(
                f"{what} take {gigabytes(needed)}, but the disk of the cache folder {self.folder} "
                f"has {gigabytes(available)} for them. Set `--data.cache_dir` to a folder on a "
                "larger one."
            )

    @contextmanager
    def _fetching(self, file: StoredFile) -> Iterator[int]:
        """Hold the lock of a file that is not here; yields a descriptor of its `.part`."""
        waits_since = time.time_ns()
        part = self._files.path(file, ".part")
        with self._disk_errors(file), locked(part, self.retries.silence) as descriptor:
            try:
                if reason := self._files.failure(file, waits_since):
                    raise UserError(reason)  # each process trying in turn would take too long
                yield descriptor
            finally:
                part.unlink(missing_ok=True)  # renamed, if all went well

    def _verify_again(self, file: StoredFile, part: int) -> int | None:
        """Open a file that is here, if its content is still right; delete it if it is not."""
        try:
            descriptor = os.open(self._files.path(file), os.O_RDONLY)
        except FileNotFoundError:
            return None
        if self._sha256(descriptor, file, part) == file.sha256:
            self._files.mark_verified(file, descriptor)
            return descriptor
        os.close(descriptor)
        self._files.remove(file)
        return None

    def _sha256(self, descriptor: int, file: StoredFile, part: int) -> str:
        if os.fstat(descriptor).st_size != file.bytes:
            return ""
        sha256 = hashlib.sha256()
        for offset in range(0, file.bytes, HASHED_AT_ONCE):
            sha256.update(os.pread(descriptor, HASHED_AT_ONCE, offset))
            os.utime(part)
        return sha256.hexdigest()

    def _fetch(self, file: StoredFile, part: int) -> int:
        self._make_room(file, part)

        def attempt() -> None:
            os.lseek(part, 0, os.SEEK_SET)
            download(file, write, self.retries.timeout, self.storage_options)

        def write(piece: bytes) -> None:
            rest = memoryview(piece)
            while rest:
                rest = rest[os.write(part, rest) :]

        try:
            persist(file.location, attempt, self.retries, alive=lambda: os.utime(part))
        except UserError as error:
            self._files.path(file, ".failed").write_text(str(error))
            raise
        self._files.publish(file, part)
        return os.dup(part)

    def _make_room(self, file: StoredFile, part: int) -> None:
        """Wait until other files that are being fetched leave room for this one."""
        if file.bytes > self.max_bytes:
            raise UserError(
                f"{file} has {gigabytes(file.bytes)}, but the cache may hold "
                f"{gigabytes(self.max_bytes)}. Raise `--data.cache_gb`."
            )
        seen, since = None, time.monotonic()
        while in_the_way := self._files.reserve(file, part):
            if in_the_way != seen:
                seen, since = in_the_way, time.monotonic()
            if time.monotonic() - since > self.retries.silence:
                raise UserError(
                    f"{file} finds no room in the cache folder {self.folder}: {len(seen)} other "
                    "files are being fetched by processes that do nothing any more. Look for "
                    "stopped processes of an earlier run, or raise `--data.cache_gb`."
                )
            os.utime(part)
            time.sleep(ROOM_POLL)

    @contextmanager
    def _disk_errors(self, file: StoredFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{file} cannot be kept in the cache folder {self.folder} ({error.strerror}): the "
                f"disk has {gigabytes(free_bytes(self.folder))} free, the cache may hold "
                f"{gigabytes(self.max_bytes)}. Set `--data.cache_dir` to another disk, or lower "
                "`--data.cache_gb`."
            ) from error
