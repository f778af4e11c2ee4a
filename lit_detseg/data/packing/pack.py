"""Raw data set to shards: tar files that any webdataset reader opens, and the index beside them.

An image goes to shard `rank in the sorted input // samples_per_shard`, so a dropped image leaves
its shard one shorter and moves no other. The same input gives the same bytes. The folder appears
under its name only when everything in it is on the disk.
"""

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from lit_detseg.data.images import EncodedImage, normalise
from lit_detseg.data.index import INDEX_FILE, ShardIndex
from lit_detseg.data.packing.checks import (
    ON_ERROR,
    WHOLE_IMAGE,
    Fault,
    Kind,
    check_objects,
    count_by_kind,
    listing,
)
from lit_detseg.data.packing.shard_writer import ShardWriter
from lit_detseg.data.records import RawSample, Record
from lit_detseg.errors import UserError
from lit_detseg.runs.directory import sync_path
from lit_detseg.structures import LabelMap

ROWS_STORED = 1000  # bad rows that the index names; all are counted
AHEAD = 4  # images per thread that are read before the one being written

Progress = Callable[[int, int], None]  # images done, images in all


class Reader(Protocol):
    """A raw data set. Its images come in the order of their keys, which are all different."""

    title: str  # what and where, for messages
    source: dict[str, Any]  # what and how, for the index; no paths, which differ between machines
    label_map: LabelMap
    faults: tuple[Fault, ...]  # rows that belong to no image

    def __len__(self) -> int:
        """Images."""

    def __iter__(self) -> Iterator[tuple[RawSample, list[Fault]]]:
        """Each image, with the faults of its rows that cannot be put into a `RawSample`."""


class Outcome(NamedTuple):
    """What became of one image of the input."""

    record: Record
    image: EncodedImage | None  # None: the image is left out
    faults: list[Fault]
    clipped: list[Fault]
    objects_read: int


def pack(
    reader: Reader,
    out: Path,
    on_error: str = "fail",
    samples_per_shard: int = 1000,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ShardIndex:
    """Write all images of `reader` as a shard set into the new folder `out`.

    Args:
        reader: for example `VocReader`, `CocoReader` or `ShapesReader`.
        out: appears complete or not at all; its parents are made.
        on_error: what becomes of bad rows, one of `checks.ON_ERROR`.
        samples_per_shard: images of the input per shard.
        overwrite: whether `out` may be an older shard set, which is then replaced.
        progress: called after each image.

    Raises:
        UserError: when `out` is in the way, the input has bad rows and `on_error` is "fail" (the
            message lists them), or no image is left.
    """
    if on_error not in ON_ERROR or samples_per_shard < 1:
        raise UserError(
            f"on_error = {on_error!r}, samples_per_shard = {samples_per_shard}: "
            f"use one of {', '.join(ON_ERROR)} and at least 1 image per shard."
        )
    with _new_folder(out, overwrite) as folder:
        index = _write_shards(reader, folder, on_error, samples_per_shard, progress)
        index.write(folder)
        sync_path(folder / INDEX_FILE)
    return index


def _write_shards(
    reader: Reader, folder: Path, on_error: str, samples_per_shard: int, progress: Progress | None
) -> ShardIndex:
    """All shards of a set; their index, not yet written."""
    shards = ShardWriter(folder)
    faults, clipped = list(reader.faults), []
    objects_read = len(reader.faults)
    for rank, outcome in enumerate(_outcomes(reader, clip=on_error == "clip")):
        faults += outcome.faults
        clipped += outcome.clipped
        objects_read += outcome.objects_read
        if outcome.image is not None:
            shards.add(rank // samples_per_shard, outcome.record, outcome.image)
        if progress is not None:
            progress(rank + 1, len(reader))
    _refuse(reader, faults, on_error, images=len(shards.keys))
    counts = {"images_read": len(reader), "objects_read": objects_read}
    options = {"on_error": on_error, "samples_per_shard": samples_per_shard}
    report = {"source": reader.source, **options, **counts, **_report(faults, clipped)}
    return shards.finish(reader.label_map, report)


def _outcomes(reader: Reader, clip: bool) -> Iterator[Outcome]:
    """The outcome of each image, in order; images are read and decoded in threads."""
    threads = min(16, len(os.sched_getaffinity(0)))
    last = ""
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Outcome]] = deque()
        for sample, faults in reader:
            if sample.image_id <= last:
                raise ValueError(f"Reader gives key {sample.image_id!r} after {last!r}: not sorted")
            last = sample.image_id
            pending.append(pool.submit(_outcome, sample, faults, reader.label_map, clip))
            if len(pending) > AHEAD * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _outcome(sample: RawSample, faults: list[Fault], labels: LabelMap, clip: bool) -> Outcome:
    """Read, decode and check one image."""
    objects_read = len(sample.objects) + sum(fault.kind not in WHOLE_IMAGE for fault in faults)
    annotated = None
    if sample.height is not None and sample.width is not None:
        annotated = (sample.height, sample.width)
    image: EncodedImage | None = None
    try:
        image = normalise(_bytes(sample.image), annotated)
        size = (image.height, image.width)
        objects, found, clipped = check_objects(sample, labels, *size, clip=clip)
        if annotated not in (None, size):
            detail = f"annotated {annotated} but decoded {size} (height, width)"
            found = [Fault(Kind.WRONG_IMAGE_SIZE, sample.file_name, detail)]
    except ValueError as error:
        size, objects, clipped = (0, 0), (), []
        found = [Fault(Kind.UNREADABLE_IMAGE, sample.file_name, str(error))]
    faults = faults + found
    if any(fault.kind in WHOLE_IMAGE for fault in faults):
        image, clipped = None, []
    record = Record(sample.image_id, *size, objects, sample.source_id, sample.file_name)
    return Outcome(record, image, faults, clipped, objects_read)


def _bytes(image: Path | bytes) -> bytes:
    """The encoded image; only errors that will not go away by themselves make it a bad row."""
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise ValueError(error.strerror) from error


def _refuse(reader: Reader, faults: list[Fault], on_error: str, images: int) -> None:
    """Stop where nothing may be written."""
    counts = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in count_by_kind(faults).items())
    if faults and on_error == "fail":
        raise UserError(
            f"{reader.title} has bad rows ({counts}); nothing was written.\n"
            f"{listing(faults)}\n"
            "Mend them, or pack with --on-error drop (leaves out bad objects and bad images) or "
            "--on-error clip (the same, but cuts boxes at the border of the image)."
        )
    if not images:
        why = f"all were left out ({counts})\n{listing(faults)}" if faults else "it has none"
        raise UserError(f"{reader.title}: no image to pack, {why}\nNothing was written.")


def _report(faults: list[Fault], clipped: list[Fault]) -> dict[str, Any]:
    """What was left out or cut: counts of all, and the first rows."""
    return {
        "dropped": count_by_kind(faults),
        "clipped": len(clipped),
        "dropped_rows": [str(fault) for fault in faults[:ROWS_STORED]],
        "clipped_rows": [str(fault) for fault in clipped[:ROWS_STORED]],
    }


@contextmanager
def _new_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """A folder beside `out` that takes its name when the block ends well, and else is removed."""
    out = out.absolute()
    packing, replaced = (out.with_name(f"{out.name}.{end}") for end in ("packing", "replaced"))
    if replaced.is_dir() and not out.exists():
        replaced.rename(out)  # a killed run left it between the two renames below
    _check_free(out, overwrite)
    _remove(packing)
    _remove(replaced)
    packing.mkdir(parents=True)
    try:
        yield packing
        sync_path(packing)
        if out.exists():
            out.rename(replaced)
        packing.rename(out)
        sync_path(out.parent)
    except BaseException:
        _remove(packing)
        raise
    _remove(replaced)


def _check_free(out: Path, overwrite: bool) -> None:
    """Stop when `out` is in the way and may not be replaced."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file. Choose another --out.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise UserError(f"{out} is not empty. Choose another --out, or give --overwrite.")
    if not (out / INDEX_FILE).is_file():
        raise UserError(f"{out} is not a shard set, so --overwrite leaves it alone: move it away.")
    _refuse_foreign(out)


def _refuse_foreign(folder: Path) -> None:
    """Stop when a folder holds what packing never writes."""
    foreign = [
        path.name
        for path in sorted(folder.iterdir())
        if path.is_dir() or not (path.match("shard-*.tar") or path.name == INDEX_FILE)
    ]
    if foreign:
        raise UserError(
            f"{folder} holds more than shards ({', '.join(foreign[:5])}), and would be deleted. "
            "Move that away first."
        )


def _remove(folder: Path) -> None:
    """Delete a folder of shards, if there is one."""
    if folder.is_dir():
        _refuse_foreign(folder)
        shutil.rmtree(folder)
