"""The index of a shard set, from its folder or from a remote store, where other indexes lie too."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from lit_detseg.data.index import INDEX_FILE, ShardIndex, index_sha256
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.fetching import persist
from lit_detseg.data.remote.store import RefusedError, TransferError, stream
from lit_detseg.data.remote.urls import is_url, join, shown
from lit_detseg.structures import UserError

KEPT_INDEXES = 16  # in the folder of a cache; the last ones used


def read_index(location: str | Path, cache: ShardCache | None = None) -> tuple[ShardIndex, str]:
    """The index of a shard set, and its SHA-256, the identity of the set.

    The index of a remote set is fetched at each call, so that a set that was packed again is
    noticed.

    Args:
        location: a folder or URL.
        cache: for URLs; not given: the default one.

    Raises:
        UserError: when there is no index, or it cannot be fetched or read.
    """
    if not is_url(location):
        return ShardIndex.read(Path(location)), index_sha256(Path(location))
    url = str(location)

    def no_set(reason: str) -> str:
        return (
            f"{shown(url)} is not a shard set that can be read: for its {INDEX_FILE}, {reason}. "
            "Look at the address and the access rights; make a set with `lit-detseg pack ... "
            "--out DIR` and upload the whole DIR."
        )

    file, sha256 = fetch_index(join(url, INDEX_FILE), cache, no_set)
    try:
        return ShardIndex.read(file.parent), sha256
    except UserError as error:
        raise UserError(f"{shown(url)}: {error}") from error


def fetch_index(
    url: str, cache: ShardCache | None, refused: Callable[[str], str]
) -> tuple[Path, str]:
    """A small remote file, and its SHA-256. It is fetched at each call.

    Nothing says what its checksum should be: it is taken when two transfers agree, one of which may
    be of an earlier call.

    Args:
        url: of the file.
        cache: where it is kept; not given: the default one.
        refused: given the reason why it cannot be had, the message.

    Raises:
        UserError: when it cannot be fetched or kept.
    """
    cache = ShardCache() if cache is None else cache
    kept = cache.folder / "indexes"
    agreed: list[str] = []

    def attempt() -> None:
        data = _transfer(url, cache, refused)
        sha256 = hashlib.sha256(data).hexdigest()
        if (kept / sha256).is_dir():
            os.utime(kept / sha256)
        elif _transfer(url, cache, refused) == data:
            _keep(data, kept, sha256)
        else:
            raise TransferError("two transfers brought two different files")
        agreed.append(sha256)

    try:
        kept.mkdir(mode=0o700, exist_ok=True)
        persist(url, attempt, cache.retries)
    except OSError as error:
        raise UserError(
            f"The index {shown(url)} cannot be kept in {kept} ({error.strerror}). Set "
            "`--data.cache_dir` to a folder on another disk."
        ) from error
    return kept / agreed[0] / INDEX_FILE, agreed[0]


def _transfer(url: str, cache: ShardCache, refused: Callable[[str], str]) -> bytes:
    pieces: list[bytes] = []
    try:
        stream(url, pieces.append, cache.retries.timeout, cache.storage_options)
    except RefusedError as error:
        raise UserError(refused(str(error))) from error
    return b"".join(pieces)


def _keep(data: bytes, kept: Path, sha256: str) -> None:
    """Store an index; the folder is there as a whole or not at all."""
    oldest_first = sorted(kept.iterdir(), key=_time_of)
    for path in oldest_first[: -KEPT_INDEXES + 1]:
        shutil.rmtree(path, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=".", dir=kept))
    (temporary / INDEX_FILE).write_bytes(data)
    try:
        temporary.rename(kept / sha256)
    except OSError:
        shutil.rmtree(temporary)
        if not (kept / sha256).is_dir():  # no other process has been faster
            raise


def _time_of(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process tidies up too
        return 0.0
