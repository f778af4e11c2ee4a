"""What is wrong with shard sets, before anything is trained on them.

Every file is hashed and walked, every image decoded, every record checked, and what was found in
one place hides nothing elsewhere. Parallel processes do the work; what stays in memory for each
image is its fingerprint of 152 bytes.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.index import ShardIndex
from lit_detseg.data.verification.facts import Facts
from lit_detseg.data.verification.files import (
    FileJob,
    expected_files,
    expected_records,
    stray_files,
)
from lit_detseg.data.verification.findings import Finding, Findings, Kind, Severity
from lit_detseg.data.verification.fingerprints import FINGERPRINT
from lit_detseg.data.verification.processes import run_jobs
from lit_detseg.data.verification.proposals import proposal_problems
from lit_detseg.data.verification.samples import Expected, Result, SampleJob
from lit_detseg.data.verification.sets import CheckedSet, compare_sets
from lit_detseg.structures import UserError

SAMPLES_PER_JOB = 32
FOREIGN = "tars made by others"  # source["data_set"] of what `lit-detseg index` writes

Progress = Callable[[int, int], None]  # images done, images in all
Job = FileJob | SampleJob


@dataclass(frozen=True)
class Report:
    """Everything found.

    Attributes:
        sets: name, label map and facts of each set.
        findings: what is wrong.
        images: in all sets, by their indexes.
        files: likewise.
    """

    sets: list[dict[str, Any]]
    findings: Findings
    images: int
    files: int

    @property
    def is_clean(self) -> bool:
        """Whether there are no errors; warnings may be there."""
        return not self.findings.count(Severity.ERROR)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "clean": self.is_clean,
            "images": self.images,
            "files": self.files,
            "bad_images": len(self.findings.bad_images),
            "bad_files": len(self.findings.bad_files),
            **self.findings.to_json(),
            "sets": self.sets,
        }


def verify(folders: Sequence[Path], workers: int, progress: Progress | None = None) -> Report:
    """Check shard sets and compare them with each other.

    Args:
        folders: the sets; each is taken for a split of its own.
        workers: processes; 0 does the work in this one.
        progress: called whenever some images are done.

    Raises:
        UserError: when a folder is not a shard set or is given twice, or its index cannot be read.
    """
    if workers < 0:
        raise UserError(f"--workers {workers}: give a number of processes, or 0 for none.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"{', '.join(map(str, folders))}: name each shard set once.")
    indexes = {str(folder): _read_index(folder) for folder in folders}
    findings = Findings()
    for shards, index in indexes.items():
        findings.add(_index_problems(shards, index))
        findings.add(stray_files(shards, index))
        findings.add(proposal_problems(shards, index))
    collected = {shards: _Collected(shards, findings) for shards in indexes}
    total, done = sum(map(len, indexes.values())), 0
    jobs = chain.from_iterable(_jobs(shards, index) for shards, index in indexes.items())
    for job, result in run_jobs(jobs, workers):
        collected[job.shards].take(job, result)
        done += len(job.samples) if isinstance(job, SampleJob) else 0
        if progress is not None:
            progress(done, total)
    checked = [collected[shards].finish(index) for shards, index in indexes.items()]
    findings.add(compare_sets(checked))
    files = sum(len(index.shards) + (index.records is not None) for index in indexes.values())
    return Report([_describe(one) for one in checked], findings, total, files)


class _Collected:
    """The results of one set, put together."""

    def __init__(self, shards: str, findings: Findings) -> None:
        self.shards, self.findings = shards, findings
        self.facts = Facts()
        self.prints = [np.empty(0, FINGERPRINT)]
        self.missing: dict[str, str] = {}  # why, by file

    def take(self, job: Job, result: Any) -> None:
        """Add a job's result; None when its process died."""
        if result is None:
            result = job.failed("the process that checked this died: out of memory, or a bug")
        assert isinstance(result, Result)
        self.findings.add(result.findings)
        self.facts.add(result.facts)
        self.prints += result.prints
        if result.missing is not None:
            self.missing.setdefault(*result.missing)

    def finish(self, index: ShardIndex) -> CheckedSet:
        """The checked set; says which files were missing."""
        self.findings.add(
            Finding(Kind.MISSING_FILE, f"it cannot be read: {why}", self.shards, name)
            for name, why in self.missing.items()
        )
        return CheckedSet(self.shards, index, self.facts, np.concatenate(self.prints))


def _jobs(shards: str, index: ShardIndex) -> Iterator[Job]:
    """All work on a set: each file as a whole, then its samples."""
    has_more = index.report.get("source", {}).get("data_set") == FOREIGN
    records = index.records
    if records is not None:
        yield FileJob(shards, records, expected_records(index), has_more=False)
    order = np.argsort(index.shard_of, kind="stable")
    ends = np.cumsum(np.bincount(index.shard_of, minlength=len(index.shards)))
    for shard, samples in zip(index.shards, np.split(order, ends[:-1]), strict=True):
        numbers = samples.tolist()
        yield FileJob(shards, shard, expected_files(index, numbers), has_more)
        for start in range(0, len(numbers), SAMPLES_PER_JOB):
            part = [_expected(index, one) for one in numbers[start : start + SAMPLES_PER_JOB]]
            elsewhere = None if records is None else records.name
            yield SampleJob(shards, shard.name, elsewhere, index.label_map, part)


def _expected(index: ShardIndex, sample: int) -> Expected:
    extents = [
        None if member is None else (int(member.offset[sample]), int(member.size[sample]))
        for member in (index.image, index.record, index.label)
    ]
    image, record, label = extents
    assert image is not None
    assert record is not None
    height, width = index.sizes[sample].tolist()
    pixels = None if index.pixel_counts is None else index.pixel_counts[sample]
    counts = index.class_counts[sample]
    return Expected(
        sample, index.keys[sample], image, record, label, (height, width), counts, pixels
    )


def _read_index(folder: Path) -> ShardIndex:
    """The index of a set, whose parts agree about the number of samples.

    Raises:
        UserError: when it cannot be used.
    """
    try:
        index = ShardIndex.read(folder)
        lengths = {
            "keys": len(index.keys),
            "shard": len(index.shard_of),
            "image": len(index.image.offset),
            "image_size": len(index.image.size),
            "record": len(index.record.offset),
            "record_size": len(index.record.size),
            "size": len(index.sizes),
            "class_counts": len(index.class_counts),
        }
        if index.label is not None:
            lengths |= {"label": len(index.label.offset), "label_size": len(index.label.size)}
        if index.pixel_counts is not None:
            lengths["pixel_counts"] = len(index.pixel_counts)
        if len({*lengths.values()}) > 1:
            raise ValueError(f"its lists have different lengths: {lengths}")
        if any(not 0 <= shard < len(index.shards) for shard in index.shard_of.tolist()):
            raise ValueError(f"a sample lies in a shard that is none of its {len(index.shards)}")
        if not lengths["keys"]:
            raise ValueError("it has no sample")
    except UserError:
        raise
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise UserError(
            f"{folder}: the index contradicts itself ({error}). "
            "Copy it again, or pack the data set again."
        ) from error
    return index


def _index_problems(shards: str, index: ShardIndex) -> Iterator[Finding]:
    """Where the index contradicts itself, but can be used."""
    found = np.bincount(index.shard_of, minlength=len(index.shards)).tolist()
    for shard, samples in zip(index.shards, found, strict=True):
        if shard.samples != samples:
            detail = f"the index counts {shard.samples} samples, but names {samples}"
            yield Finding(Kind.WRONG_SAMPLE_COUNT, detail, shards, shard.name)
    if (np.diff(index.shard_of) < 0).any():
        detail = "the samples of the index do not stand shard by shard"
        yield Finding(Kind.WRONG_SAMPLE_COUNT, detail, shards)
    counts = Counter(index.keys)
    seen = set()
    for sample, key in enumerate(index.keys):
        if key in seen:
            detail = f"{counts[key]} samples have this key"
            file = index.shards[index.shard_of[sample]].name
            yield Finding(Kind.DUPLICATE_KEY, detail, shards, file, key)
        seen.add(key)


def _describe(one: CheckedSet) -> dict[str, Any]:
    return {
        "shards": one.shards,
        "samples": len(one.stored),
        "files": len(one.stored.shards),
        "bytes": sum(shard.bytes for shard in one.stored.shards),
        "label_map": one.stored.label_map.to_json(),
        **one.facts.to_json(one.stored.label_map),
    }
