"""A file from a remote store, tried until it is here and right, or is given up with one error."""

import hashlib
import logging
import os
import socket
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lit_detseg.data.remote.store import RefusedError, TransferError, stream
from lit_detseg.data.remote.urls import StoredFile, shown
from lit_detseg.structures import UserError

SILENT_FAILURES = 2  # attempts that may fail before anybody is told

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retries:
    """How long a transfer is tried.

    With these numbers a store that answers nothing is given up after 5 minutes, one that refuses
    after one: sooner than a process group gives up a rank that does not answer.

    Args:
        attempts: transfers of one file in all.
        timeout: seconds without a byte after which a transfer has failed.
        first_delay: seconds between the first two; doubled each time.
        longest_delay: seconds, at most.
    """

    attempts: int = 8
    timeout: float = 30.0
    first_delay: float = 0.5
    longest_delay: float = 30.0

    def delay(self, attempt: int, url: str) -> float:
        """Seconds to wait after a failed attempt, counted from 0.

        Half of it differs between nodes and processes, so that they do not come back together.
        """
        whole = min(self.first_delay * 2**attempt, self.longest_delay)
        who = f"{socket.gethostname()} {os.getpid()} {url} {attempt}"
        return whole * (0.5 + zlib.crc32(who.encode()) / 2**33)

    @property
    def silence(self) -> float:
        """Seconds after which a process that fetches must have shown that it is alive.

        One that connects, waits, gives up, closes and waits to try again says nothing meanwhile.
        """
        return 4 * self.timeout + 2 * self.longest_delay + 1


def persist(
    url: str,
    attempt: Callable[[], object],
    retries: Retries,
    alive: Callable[[], object] = lambda: None,
) -> None:
    """Call `attempt` until it succeeds.

    Args:
        url: what it transfers.
        attempt: raises `TransferError` when it may be tried again.
        retries: how often.
        alive: called before each attempt.

    Raises:
        UserError: names the URL, the number of attempts and the last reason.
    """
    started = time.monotonic()
    for number in range(retries.attempts):
        alive()
        try:
            attempt()
            return
        except RefusedError as error:
            raise UserError(
                f"{shown(url)} cannot be fetched: {error}. Look at the address and the access "
                "rights; if it is a shard, its index names it: upload the whole folder again."
            ) from error
        except TransferError as error:
            reason = str(error)
        if number == SILENT_FAILURES:
            left = retries.attempts - number - 1
            _log.warning("%s: %s. %d more attempts will follow.", shown(url), reason, left)
        if number < retries.attempts - 1:
            time.sleep(retries.delay(number, url))
    raise UserError(
        f"{shown(url)} could not be fetched: {retries.attempts} attempts in "
        f"{time.monotonic() - started:.0f} s failed, the last one because {reason}. "
        "Look at the store and the network, then start again: the run continues."
    )


def download(
    file: StoredFile,
    write: Callable[[bytes], object],
    timeout: float,
    options: Mapping[str, Any],
) -> None:
    """Transfer a file once, and compare what came with what the index says.

    Raises:
        TransferError, RefusedError, UserError: as `stream`; the first also when it is another file.
    """
    sha256, received = hashlib.sha256(), 0

    def receive(piece: bytes) -> None:
        nonlocal received
        received += len(piece)
        if received > file.bytes:
            raise TransferError(f"more than the {file.bytes} bytes came that the index says")
        sha256.update(piece)
        write(piece)

    stream(file.location, receive, timeout, options)
    if received < file.bytes:
        raise TransferError(f"{received} bytes came, the index says {file.bytes}")
    if sha256.hexdigest() != file.sha256:
        raise TransferError(
            f"what came has SHA-256 {sha256.hexdigest()[:12]}..., the index says "
            f"{file.sha256[:12]}...: damaged on its way, or not the file that was packed"
        )
