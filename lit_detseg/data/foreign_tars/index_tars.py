"""An index for webdataset tars made by others, which stay as they are.

Images are decoded once, to know that they can be read as they are and how large they are. Records
in our own form are used where they stand; others are translated into a side file of records.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lit_detseg.data.foreign_tars.classes import Classes
from lit_detseg.data.foreign_tars.groups import TarContents, read_groups
from lit_detseg.data.foreign_tars.records_file import RECORDS_FILE, RecordsWriter
from lit_detseg.data.foreign_tars.samples import Indexed, IndexJob, called_classes
from lit_detseg.data.index import INDEX_FILE, Member, Shard, ShardIndex
from lit_detseg.data.packing.checks import ON_ERROR
from lit_detseg.data.packing.tally import Tally
from lit_detseg.data.verification.processes import run_jobs
from lit_detseg.data.verification.verify import FOREIGN
from lit_detseg.errors import UserError
from lit_detseg.runs.directory import sync_path
from lit_detseg.structures import LabelMap

SAMPLES_PER_JOB = 32
MISTAKES_SHOWN = 10

Progress = Callable[[int, int], None]  # images done, images in all


def index_tars(
    tars: Sequence[Path],
    out: Path | None = None,
    classes: Classes | None = None,
    with_records: bool = True,
    on_error: str = "fail",
    overwrite: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> ShardIndex:
    """Write `index.json`, and `records.tar` where it is needed, for existing tars.

    Args:
        tars: in the order in which they will be read; plain, not compressed.
        out: folder of the index; without it that of the tars, which is then the same for all.
        classes: what class names and numbers mean; without it the names found, sorted.
        with_records: whether the JSON files are annotations; otherwise nothing reads them.
        on_error: what becomes of bad rows, one of `checks.ON_ERROR`; what is left out stays in the
            tars, but not in the index.
        overwrite: whether an index that is there may be replaced.
        workers: processes; 0 does the work in this one.
        progress: called whenever some images are done.

    Raises:
        UserError: when a tar cannot be read, two samples share a key, a class has no name, an index
            is in the way, or there are bad rows and `on_error` is "fail" (the message lists them).
    """
    if on_error not in ON_ERROR or workers < 0:
        raise UserError(
            f"on_error {on_error!r}, {workers} workers: one of {', '.join(ON_ERROR)}, 0+."
        )
    out = _free_folder(tars, out, overwrite)
    contents = {path: read_groups(path, with_records) for path in tars}
    _check_keys(contents)
    if classes is None:
        classes = Classes.from_annotations(
            name for path, one in contents.items() for name in called_classes(path, one.groups)
        )
    temporary = out / f".{RECORDS_FILE}.{os.getpid()}.tmp"
    found = _Found(RecordsWriter(temporary))
    try:
        for one in contents.values():
            found.faults.add(one.faults)
        _check_samples(contents, classes, on_error == "clip", workers, found, progress)
        _refuse(found, on_error)
        records = found.records.close()
        index = _index(contents, out, classes.label_map, found, records, on_error)
        (out / INDEX_FILE).unlink(missing_ok=True)  # what follows is not what it describes
        (out / RECORDS_FILE).unlink(missing_ok=True)
        if index.records is not None:
            temporary.replace(out / RECORDS_FILE)
        _write_index(index, out)
    finally:
        temporary.unlink(missing_ok=True)
    return index


@dataclass
class _Found:
    """All samples so far; of those that are kept, what the index will say."""

    records: RecordsWriter
    keys: list[str] = field(default_factory=list)
    # One row a sample: image offset and size, the record's in its tar, the record's in the side
    # file, height, width.
    rows: list[tuple[int, ...]] = field(default_factory=list)
    class_counts: list[dict[int, int]] = field(default_factory=list)
    kept: Counter[Path] = field(default_factory=Counter)
    faults: Tally = field(default_factory=Tally)
    clipped: Tally = field(default_factory=Tally)
    objects_read: int = 0
    all_in_place: bool = True

    def add(self, path: Path, one: Indexed) -> None:
        """Take the next sample."""
        self.faults.add(one.faults)
        self.clipped.add(one.clipped)
        self.objects_read += one.objects_read
        if one.record is None:
            return
        image, member = one.group.image, one.group.record
        in_tar = in_side_file = (0, 0)
        if one.is_annotated and member is not None:
            in_tar = member.offset, member.size
            in_side_file = self.records.add(one.record)
            self.all_in_place &= one.is_in_place
        size = one.record.height, one.record.width
        self.keys.append(one.group.key)
        self.rows.append((image.offset, image.size, *in_tar, *in_side_file, *size))
        self.class_counts.append(one.class_counts)
        self.kept[path] += 1


def _check_samples(
    contents: dict[Path, TarContents],
    classes: Classes,
    clip: bool,
    workers: int,
    found: _Found,
    progress: Progress | None,
) -> None:
    """Decode and translate all samples, in order."""
    total, done = sum(len(one.groups) for one in contents.values()), 0
    jobs = (
        IndexJob(path, one.groups[start : start + SAMPLES_PER_JOB], classes, clip)
        for path, one in contents.items()
        for start in range(0, len(one.groups), SAMPLES_PER_JOB)
    )
    for job, result in run_jobs(jobs, workers):
        if result is None:
            raise UserError(
                f"A process died while it read {job.path}, samples {job.groups[0].key} to "
                f"{job.groups[-1].key}: out of memory, or one of the images ended it. "
                "Try again with fewer --workers."
            )
        assert isinstance(result, list)
        for one in result:
            found.add(job.path, one)
        done += len(job.groups)
        if progress is not None:
            progress(done, total)


def _index(
    contents: dict[Path, TarContents],
    out: Path,
    label_map: LabelMap,
    found: _Found,
    records: Shard,
    on_error: str,
) -> ShardIndex:
    rows = np.array(found.rows, dtype=np.int64).reshape(-1, 8)
    kept = [path for path in contents if found.kept[path]]
    shards = tuple(_shard(path, out, found.kept[path]) for path in kept)
    ignored: Counter[str] = Counter()
    for one in contents.values():
        ignored.update(one.ignored)
    images_read = sum(len(one.groups) + len(one.faults) for one in contents.values())
    place = (2, 3) if found.all_in_place else (4, 5)
    return ShardIndex(
        label_map=label_map,
        shards=shards,
        keys=tuple(found.keys),
        shard_of=np.repeat(np.arange(len(shards)), [shard.samples for shard in shards]),
        image=Member(rows[:, 0], rows[:, 1]),
        record=Member(rows[:, place[0]], rows[:, place[1]]),
        sizes=rows[:, 6:8],
        class_counts=tuple(found.class_counts),
        records=None if found.all_in_place else records,
        report={
            "source": {"data_set": FOREIGN, "tars": [path.name for path in contents]},
            "on_error": on_error,
            "images_read": images_read,
            "objects_read": found.objects_read,
            "dropped": found.faults.by_kind(),
            "clipped": len(found.clipped),
            "dropped_rows": found.faults.rows,
            "clipped_rows": found.clipped.rows,
            "ignored_files": dict(sorted(ignored.items())),
        },
    )


def _free_folder(tars: Sequence[Path], out: Path | None, overwrite: bool) -> Path:
    """The folder of the index, in which nothing is in the way."""
    folders = {path.absolute().parent for path in tars}
    if not tars or len({path.resolve() for path in tars}) < len(tars):
        raise UserError(f"{', '.join(map(str, tars))}: name at least one tar, and none twice.")
    if out is None:
        if len(folders) > 1:
            raise UserError(
                f"The tars lie in {len(folders)} folders ({', '.join(map(str, sorted(folders)))}). "
                "Say with --out DIR where the index shall be."
            )
        out = folders.pop()
    ours = [out / INDEX_FILE, out / RECORDS_FILE]
    if any(path.resolve() == tar.resolve() for path in ours for tar in tars):
        raise UserError(f"{RECORDS_FILE} is the name of a file that is written. Rename that tar.")
    there = [str(path) for path in ours if path.exists()]
    if there and not overwrite:
        raise UserError(f"{there[0]} is there already. Choose --out DIR, or give --overwrite.")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _check_keys(contents: dict[Path, TarContents]) -> None:
    """Stop when a key stands in two tars."""
    tar_of: dict[str, Path] = {}
    twice: list[str] = []
    for path, one in contents.items():
        for group in one.groups:
            first = tar_of.setdefault(group.key, path)
            if first is not path:
                twice.append(f"{group.key} in {first.name} and {path.name}")
    if twice:
        more = f", and {len(twice) - MISTAKES_SHOWN} more" if len(twice) > MISTAKES_SHOWN else ""
        raise UserError(
            f"{len(twice)} keys stand in two tars: {', '.join(twice[:MISTAKES_SHOWN])}{more}. "
            "Images are counted by their key: index the tars as sets of their own (--out), or "
            "rename the files in one of them."
        )


def _refuse(found: _Found, on_error: str) -> None:
    """Stop where no index may be written."""
    counts = ", ".join(
        f"{n} {kind.replace('_', ' ')}" for kind, n in found.faults.by_kind().items()
    )
    if len(found.faults) and on_error == "fail":
        raise UserError(
            f"The tars have bad rows ({counts}); no index was written.\n{found.faults.listing()}\n"
            "Index with --on-error drop to leave them out of the index. To keep an image that "
            "cannot stay as it is, convert it to an 8-bit RGB PNG in the tar, or unpack the tars "
            "and use `lit-detseg pack`, which converts it."
        )
    if not found.keys:
        why = (
            f"all were left out ({counts})\n{found.faults.listing()}" if counts else "none is there"
        )
        raise UserError(f"No sample with an image to index: {why}\nNo index was written.")


def _shard(path: Path, out: Path, samples: int) -> Shard:
    """What the index says of a tar; its name leads there from the index."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    # Folders may be links, beyond which ".." leads elsewhere; the tar itself may be one too.
    name = os.path.relpath(path.parent.resolve() / path.name, out.resolve())
    return Shard(name, samples, path.stat().st_size, sha256)


def _write_index(index: ShardIndex, out: Path) -> None:
    """The index as the last file, and at once."""
    folder = out / f".{INDEX_FILE}.{os.getpid()}.tmp"
    folder.mkdir()
    try:
        index.write(folder)
        sync_path(folder / INDEX_FILE)
        (folder / INDEX_FILE).replace(out / INDEX_FILE)
    finally:
        with suppress(OSError):
            (folder / INDEX_FILE).unlink(missing_ok=True)
            folder.rmdir()
    sync_path(out)
