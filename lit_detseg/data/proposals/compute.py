"""Proposals for all images of a shard set, once: in parallel, and again from where it was killed.

The work is cut into parts of a few images. A finished part is a file; an attempt that was cut short
leaves it, and the next one goes on behind it. Which process computed what, and in how many
attempts, changes nothing in what is written, but for the seconds in `cost.json`.
"""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from lit_detseg.data.index import index_sha256
from lit_detseg.data.packing.work_folder import remove_leftovers, work_folder
from lit_detseg.data.packing.workers import Done, Progress, counter, run_tasks
from lit_detseg.data.proposals.method import ProposalMethod
from lit_detseg.data.proposals.store import (
    CONTENTS,
    COST_FILE,
    FOLDER,
    INDEX_FILE,
    ProposalIndex,
    proposals_folder,
)
from lit_detseg.data.proposals.writer import publish_proposals
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError
from lit_detseg.runs.directory import write_atomically

IMAGES_PER_PART = 4  # what a killed worker loses at most: some seconds


class _Part(NamedTuple):
    """The proposals of a few images."""

    boxes: np.ndarray  # (P, 4) float32
    counts: np.ndarray  # (I,) int64
    cpu_seconds: float

    def of_each_image(self) -> list[np.ndarray]:
        return np.split(self.boxes, np.cumsum(self.counts)[:-1])


@dataclass(frozen=True)
class _Parts:
    """Computes the parts of a set, one at a time, in any order.

    Args:
        reader: of the images.
        method: proposes boxes.
        folder: of the files of finished parts.
        identity: of shards, method, options and libraries.
    """

    reader: ShardReader
    method: ProposalMethod
    folder: Path
    identity: str

    def __len__(self) -> int:
        return -(-len(self.reader) // IMAGES_PER_PART)

    def __call__(self, number: int, done: Done) -> bool:
        """Compute a part, unless it is there; whether it was."""
        samples = self.samples(number)
        if self.read(number) is not None:
            done(len(samples))
            return True
        boxes, seconds = [], 0.0
        for sample in samples:
            image = self.reader.image(sample)
            start = time.thread_time()
            boxes.append(self.method(image))
            seconds += time.thread_time() - start
            done(1)
        file = io.BytesIO()
        np.savez(
            file,
            identity=self.identity,
            boxes=np.concatenate(boxes),
            counts=np.array([len(one) for one in boxes], dtype=np.int64),
            cpu_seconds=seconds,
        )
        write_atomically(self.path(number), file.getvalue())
        return False

    def samples(self, number: int) -> range:
        """The images of a part."""
        start = number * IMAGES_PER_PART
        return range(start, min(start + IMAGES_PER_PART, len(self.reader)))

    def path(self, number: int) -> Path:
        """The file of a finished part."""
        return self.folder / f"part-{number:08d}.npz"

    def read(self, number: int) -> _Part | None:
        """A finished part, or None where there is none that can be used."""
        try:
            with np.load(self.path(number), allow_pickle=False) as stored:
                if stored["identity"] != self.identity:
                    return None
                return _Part(stored["boxes"], stored["counts"], float(stored["cpu_seconds"]))
        except Exception:  # of a damaged file, anything
            return None


def compute_proposals(
    shards: Path,
    method: ProposalMethod,
    name: str,
    overwrite: bool = False,
    workers: int = 1,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda sentence: None,
) -> ProposalIndex:
    """Propose boxes for every image of a shard set; what is there already is not computed again.

    Args:
        shards: folder of the set.
        method: proposes boxes.
        name: under which they are stored, see `store.py`.
        overwrite: whether proposals of this name that were made otherwise are replaced.
        workers: processes; with 0 or 1, everything happens in this one.
        progress: called as images are done.
        say: called with a sentence when there is something of an earlier attempt.

    Raises:
        UserError: when the set cannot be read or written beside, the name is taken, or a worker
            died.
    """
    if workers < 0:
        raise UserError(f"--workers {workers}: give a number of processes, or 0 for none.")
    reader = ShardReader(shards)
    place = proposals_folder(shards, name)
    if (place / INDEX_FILE).is_file() and not overwrite:
        there = ProposalIndex.read(place)
        check_same(there, method.name, method.options, reader, place)
        remove_leftovers(place, INDEX_FILE, CONTENTS)
        say(f"{place} is there already. To compute it again, give --overwrite.")
        return there
    _require_writable(shards)
    made_with = {"opencv": cv2.__version__}
    known = [index_sha256(shards), method.name, method.options, made_with]
    identity = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    with work_folder(place, INDEX_FILE, overwrite, CONTENTS) as folder, _one_thread():
        parts = _Parts(reader, method, folder.notes, identity)
        found = sum(parts.path(number).is_file() for number in range(len(parts)))
        if found:
            say(
                f"Going on in {folder.root}: {found} of {len(parts)} parts are there, and are kept "
                "where shards and options are the same."
            )
        run_tasks(parts, range(len(parts)), workers, counter(progress, len(reader)), noun="part")
        cost = json.dumps(_cost(parts))
        (folder.shards / COST_FILE).write_text(f"{cost}\n", encoding="utf-8")
        boxes = (boxes for part in _finished(parts) for boxes in part.of_each_image())
        return publish_proposals(folder, shards, boxes, method.name, method.options, made_with)


def read_cost(folder: Path) -> dict[str, float] | None:
    """How long proposals took: `images`, `cpu_seconds` and `cpu_seconds_per_image`, if known."""
    try:
        return json.loads((folder / COST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _cost(parts: _Parts) -> dict[str, float]:
    seconds = sum(part.cpu_seconds for part in _finished(parts))
    images = len(parts.reader)
    return {
        "images": images,
        "cpu_seconds": round(seconds, 3),
        "cpu_seconds_per_image": round(seconds / max(images, 1), 4),
    }


def _finished(parts: _Parts) -> Iterator[_Part]:
    for number in range(len(parts)):
        part = parts.read(number)
        if part is None:
            raise UserError(
                f"{parts.path(number)} is gone or damaged: another program changes this folder. "
                "Run the same command again."
            )
        yield part


def check_same(
    there: ProposalIndex,
    name: str,
    options: Mapping[str, Any],
    reader: ShardReader,
    place: Path,
) -> None:
    """Stop when proposals that are there are not those that are asked for.

    Args:
        there: their index.
        name: of the method that is asked for.
        options: of the method.
        reader: of the images.
        place: where they are, for messages.

    Raises:
        UserError: with what is different.
    """
    there.check_fits(reader.sha256[0], reader.shard_lengths, str(place))
    theirs, mine = {"method": there.method}, {"method": name}
    if theirs == mine:
        theirs, mine = there.options, dict(options)
    if theirs != mine:
        names = [key for key in {**theirs, **mine} if theirs.get(key) != mine.get(key)]
        gaps = [f"{key} = {theirs.get(key)} there, {mine.get(key)} here" for key in names]
        raise UserError(
            f"{place} was made otherwise ({'; '.join(gaps)}). Give these another --name, or "
            "--overwrite to replace them."
        )


def _require_writable(shards: Path) -> None:
    folder = shards / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be made ({error.strerror}): proposals are stored beside the shards. "
            "Use a copy of the shards that you may write to."
        ) from error


@contextmanager
def _one_thread() -> Iterator[None]:
    """OpenCV without threads of its own, whose time would not be counted."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
