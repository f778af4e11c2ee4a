"""Reading from files by offset, wherever they are."""

import os
from collections import OrderedDict
from typing import Any

from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.urls import StoredFile
from lit_detseg.structures import UserError

MAX_OPEN_FILES = 64  # per process: a worker wanders over a window, not over the whole set


class OpenFiles:
    """Reads local files through descriptors that stay open, remote ones through the cache.

    Each process opens its own. Files of the cache are opened for one read at a time: what is
    open keeps its room on the disk after the cache has deleted it.

    Args:
        cache: for remote files.
    """

    def __init__(self, cache: ShardCache | None) -> None:
        self._cache = cache
        self._start()

    def read(self, file: StoredFile, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on.

        Raises:
            UserError: when the file cannot be had, or is not as long as the index says.
        """
        try:
            data = self._read(file, offset, size)
        except OSError as error:
            raise UserError(
                f"{file} cannot be read ({error.strerror}). Look at the disk or the shared file "
                "system it is on, or copy it again."
            ) from error
        if len(data) < size:  # cut while it was open
            raise _wrong_length(file, len(data) + offset)
        return data

    def _read(self, file: StoredFile, offset: int, size: int) -> bytes:
        if not file.is_remote or self._cache is None:
            return os.pread(self._local(file), size, offset)
        descriptor = self._cache.open(file)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)

    def _local(self, file: StoredFile) -> int:
        """An open descriptor of a local file that has the expected length."""
        if self._process != os.getpid():  # forked: the parent's descriptors stay the parent's
            self._start()
        if file.location in self._descriptors:
            self._descriptors.move_to_end(file.location)
            return self._descriptors[file.location]
        if len(self._descriptors) >= MAX_OPEN_FILES:
            os.close(self._descriptors.popitem(last=False)[1])
        self._descriptors[file.location] = descriptor = _open(file)
        return descriptor

    def _start(self) -> None:
        self._descriptors: OrderedDict[str, int] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"_cache": self._cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._cache = state["_cache"]
        self._start()

    def __del__(self) -> None:
        if self._process == os.getpid():
            for descriptor in self._descriptors.values():
                os.close(descriptor)


def _open(file: StoredFile) -> int:
    try:
        descriptor = os.open(file.location, os.O_RDONLY)
    except OSError as error:
        raise UserError(
            f"{file} cannot be opened ({error.strerror}), but the index names it. "
            "Copy the whole folder again, or pack the data set again."
        ) from error
    found = os.fstat(descriptor).st_size
    if found != file.bytes:
        os.close(descriptor)
        raise _wrong_length(file, found)
    return descriptor


def _wrong_length(file: StoredFile, found: int) -> UserError:
    return UserError(
        f"{file} has {found} bytes, the index says {file.bytes}. "
        "The copy is incomplete or from another packing: copy the folder again, or pack again."
    )
