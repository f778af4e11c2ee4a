"""Fetches what a node's ranks will read next: one process per node, started by one of them.

It helps and is never needed: a rank whose shard is not there yet waits for it, or fetches it. The
two share a folder: `position` holds the stream and step that the rank is at, `stream-<n>.pickle`
what is read at which step. The process ends with the one that started it, however that ends.
"""

import mmap
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from lit_detseg.data.order import Order, Slots
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.lookahead import Lookahead, Stream
from lit_detseg.data.remote.urls import StoredFile
from lit_detseg.data.shards import ShardReader

START = f"from {__name__} import main; main()"  # with -m, it would be imported twice
AT_A_TIME = 4  # transfers
# Of the cache; the rest is for what lagging workers still read.
SHARE_OF_CACHE = 0.9
POLL = 0.1  # seconds
TRY_AGAIN_AFTER = 60.0  # seconds, what could not be fetched
LOOK_AGAIN_AFTER = 5.0  # seconds, whether what was fetched is still there
# Stream and step are one number, which is never seen half written.
STEPS_OF_A_STREAM = 2**40
NOWHERE = -1


class Fetcher:
    """Starts the process and tells it where training, or evaluation, stands.

    Args:
        cache: where files are kept.
    """

    def __init__(self, cache: ShardCache) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._owner = os.getpid()
        self._given_up = False
        self._streams: list[Stream] = []
        self.cache = cache

    def follow(
        self,
        reader: ShardReader,
        order: Order,
        ranks_here: Sequence[int] = (0,),
        ranks: int = 1,
        read_ahead: int = 0,
        companions: Sequence[StoredFile] = (),
    ) -> Order:
        """The same order, which tells this fetcher of each step that is asked for.

        Args:
            reader: of the samples that `order` names. Where none is remote, nothing is followed.
            order: what is read.
            ranks_here: the ranks on this node.
            ranks: in all.
            read_ahead: steps that a loader asks for before they are read.
            companions: a file that is read with each shard, if there is one.
        """
        if not any(file.is_remote for file in (*reader.shards, *reader.side_files)):
            return order
        self._streams.append(
            Stream(
                reader.shards,
                reader.side_files,
                reader.shard_of,
                order,
                tuple(ranks_here),
                ranks,
                tuple(companions),
            )
        )
        return _Followed(order, self, len(self._streams) - 1, read_ahead)

    def at(self, stream: int, step: int) -> None:
        """Note which stream is being read, and from where on; starts the process if need be."""
        if os.getpid() != self._owner:  # a loader worker
            return
        if self._given_up:
            return
        try:
            folder = self._start() if self._folder is None else self._folder
            path = _stream_path(folder, stream)
            if not path.exists():
                path.write_bytes(pickle.dumps((self._streams[stream], self.cache)))
        except (OSError, pickle.PicklingError, AttributeError, TypeError) as error:
            self._given_up = True
            self.close()
            warnings.warn(f"Shards are not fetched ahead: {error}.", stacklevel=2)
            return
        self._position[0] = stream * STEPS_OF_A_STREAM + step

    def close(self) -> None:
        """End the process. Called again, and in forked children, it does nothing."""
        if self._process is None or self._folder is None or os.getpid() != self._owner:
            return
        self._process.kill()  # what it was fetching is discarded by whoever looks next
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._process = self._folder = None

    def __del__(self) -> None:
        self.close()

    def _start(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="lit_detseg_fetcher_"))
        (folder / "position").write_bytes(np.array([NOWHERE]).tobytes())
        self._position = _shared_position(folder)
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, str(folder), str(os.getpid())],
            env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for training, which ends this one
        )
        self._folder = folder
        return folder


class _Followed:
    """An order that tells a fetcher what it is asked for."""

    def __init__(self, order: Order, fetcher: Fetcher, stream: int, read_ahead: int) -> None:
        self._order = order
        self._fetcher = fetcher
        self._stream = stream
        self._read_ahead = read_ahead

    @property
    def steps(self) -> int:
        return self._order.steps

    def slots(self, step: int, rank: int = 0, ranks: int = 1) -> Slots:
        self._fetcher.at(self._stream, max(step - self._read_ahead, 0))
        return self._order.slots(step, rank, ranks)


def _stream_path(folder: Path, number: int) -> Path:
    return folder / f"stream-{number}.pickle"


def _shared_position(folder: Path) -> np.ndarray:
    """One number that two processes see, (1,) int64."""
    with (folder / "position").open("r+b") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 8), np.int64)


class _Transfers:
    """Files on their way into a cache, a few at a time."""

    def __init__(self, cache: ShardCache, pool: ThreadPoolExecutor) -> None:
        self._cache = cache
        self._pool = pool
        self._running: dict[StoredFile, Future[None]] = {}
        self._not_before: dict[StoredFile, float] = {}

    def ended(self) -> bool:
        """Whether one has ended since the last call."""
        done = [file for file, future in self._running.items() if future.done()]
        for file in done:
            if self._running.pop(file).exception():  # a rank that needs it will say what is wrong
                self._not_before[file] = time.monotonic() + TRY_AGAIN_AFTER
        return bool(done)

    def start(self, wanted: Sequence[StoredFile]) -> None:
        """Begin with the first files that are not here yet."""
        self._cache.keep(wanted)
        for file in wanted:
            if len(self._running) >= AT_A_TIME:
                return
            waits = self._not_before.get(file, 0.0) > time.monotonic()
            if file not in self._running and not waits and not self._cache.holds(file):
                self._running[file] = self._pool.submit(self._cache.fetch, file)


def run(folder: Path, parent: int) -> None:
    """What the process does, until its parent ends."""
    threading.Thread(target=_end_with, args=(parent, folder), daemon=True).start()
    position = _shared_position(folder)
    at = followed = NOWHERE
    looked = 0.0
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        while True:
            time.sleep(POLL)
            before, at = at, int(position[0])
            if at == NOWHERE:
                continue
            number, step = divmod(at, STEPS_OF_A_STREAM)
            if number != followed:
                stream, cache = pickle.loads(_stream_path(folder, number).read_bytes())
                lookahead = Lookahead(stream, int(cache.max_bytes * SHARE_OF_CACHE))
                transfers, followed = _Transfers(cache, pool), number
            waited = time.monotonic() - looked > LOOK_AGAIN_AFTER
            if transfers.ended() or at != before or waited:
                transfers.start(lookahead.wanted(step))
                looked = time.monotonic()


def _end_with(parent: int, folder: Path) -> None:
    while os.getppid() == parent:
        time.sleep(POLL)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Entry point of the process: its folder and its parent."""
    for name in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # the scheduler's signals are for training
    run(Path(sys.argv[1]), int(sys.argv[2]))
