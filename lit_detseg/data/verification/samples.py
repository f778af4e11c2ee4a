"""Some samples of one shard: read, decode and check each, whatever the one before was."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lit_detseg.data.images import JPEG_START, decode, normalise, simplejpeg
from lit_detseg.data.packing.checks import Fault
from lit_detseg.data.packing.label_png import NO_CLASS, count_pixels
from lit_detseg.data.verification.facts import Facts
from lit_detseg.data.verification.findings import Finding, Kind, Problem
from lit_detseg.data.verification.fingerprints import FINGERPRINT, fingerprint
from lit_detseg.data.verification.records import CheckedRecord, check_record
from lit_detseg.structures import LabelMap

Extent = tuple[int, int]  # offset and size of a file's bytes within its tar


class Expected(NamedTuple):
    """What the index says about a sample."""

    number: int
    key: str
    image: Extent
    record: Extent
    label: Extent | None
    size: tuple[int, int]  # height, width
    class_counts: dict[int, int]
    pixel_counts: dict[int, int] | None


@dataclass
class Result:
    """What was found in a part of a set."""

    findings: list[Finding] = field(default_factory=list)
    facts: Facts = field(default_factory=Facts)
    prints: list[np.ndarray] = field(default_factory=list)
    missing: tuple[str, str] | None = None  # a file that could not be opened, and why


@dataclass(frozen=True)
class SampleJob:
    """Check some samples of a shard.

    Args:
        shards: the set, as the user names it.
        file: the shard's name.
        records: the file of the records, if that is another one.
        classes: the label map.
        samples: what the index says.
    """

    shards: str
    file: str
    records: str | None
    classes: LabelMap
    samples: Sequence[Expected]

    def check(self) -> Result:
        """Check each sample; only files that are missing end it early."""
        result = Result(prints=[np.empty(0, FINGERPRINT)])
        with ExitStack() as files:
            descriptors = []
            for name in (self.file, self.records or self.file):
                try:
                    file = files.enter_context((Path(self.shards) / name).open("rb"))
                except OSError as error:
                    result.missing = name, str(error.strerror)
                    result.facts.not_checked = len(self.samples)
                    return result
                descriptors.append(file.fileno())
            for sample in self.samples:
                problems = _SampleCheck(sample, self.classes, result).run(*descriptors)
                result.findings += [
                    Finding.at(problem, self.shards, self.file, sample.key) for problem in problems
                ]
        return result

    def failed(self, reason: str) -> Result:
        """The answer when the process of this job died."""
        first, last = self.samples[0].key, self.samples[-1].key
        detail = f"samples {first} to {last}: {reason}"
        finding = Finding(Kind.CHECK_FAILED, detail, self.shards, self.file)
        return Result([finding], Facts(not_checked=len(self.samples)))


class _SampleCheck:
    """The check of one sample; counts go into the result of its job."""

    def __init__(self, sample: Expected, classes: LabelMap, result: Result) -> None:
        self.sample, self.classes, self.result = sample, classes, result

    def run(self, shard: int, records: int) -> Iterator[Problem]:
        """Everything that is wrong with the sample.

        Args:
            shard: descriptor of the file with the image.
            records: of the file with the record.
        """
        sample = self.sample
        size = None
        try:
            data = _bytes(shard, sample.image)
            pixels = _decode(data)
            size = pixels.shape[0], pixels.shape[1]
            self.result.prints.append(fingerprint(sample.number, data, pixels))
            self.result.facts.count_image(*size)
        except Exception as error:  # decoders raise what they like
            self.result.facts.unreadable += 1
            yield Problem(Kind.UNREADABLE_IMAGE, f"{type(error).__name__}: {error}")
        if size not in (None, sample.size):
            detail = f"the index says {sample.size}, the image has {size} (height, width)"
            yield Problem(Kind.WRONG_IMAGE_SIZE, detail)
        for check, extent, file in (
            (self._record, sample.record, records),
            (self._label_map, sample.label, shard),
        ):
            try:
                yield from check(file, extent, size)
            except Exception as error:  # a fault that nobody has thought of must not hide others
                yield Problem(Kind.CHECK_FAILED, f"{type(error).__name__}: {error}")

    def _record(
        self, file: int, extent: Extent | None, size: tuple[int, int] | None
    ) -> Iterator[Problem]:
        if extent is None or not extent[1]:
            self.result.facts.without_annotation += 1
            found = CheckedRecord([], [], [])
        else:
            found = self._stored_record(file, extent, size)
        yield from found.problems
        counts = self.sample.class_counts
        if found.labels is not None and Counter(found.labels) != Counter(counts):
            yield Problem(
                Kind.WRONG_CLASS_COUNTS,
                f"the index counts {_sorted(counts)} objects by label, "
                f"the record has {_sorted(Counter(found.labels))}",
            )

    def _stored_record(
        self, file: int, extent: Extent, size: tuple[int, int] | None
    ) -> CheckedRecord:
        try:
            data = _bytes(file, extent)
        except ValueError as error:
            return CheckedRecord([Problem(Kind.UNREADABLE_ANNOTATION, str(error))], [], None)
        found = check_record(data, self.sample.key, size, self.classes)
        if found.labels is not None:
            self.result.facts.count_objects(found.objects)
        return found

    def _label_map(
        self, file: int, extent: Extent | None, size: tuple[int, int] | None
    ) -> Iterator[Problem]:
        if extent is None:
            return
        try:
            png = _bytes(file, extent)
        except ValueError as error:
            yield Problem(Kind.UNREADABLE_LABELS, str(error))
            return
        counts = count_pixels(png, "", self.classes, *(size or self.sample.size))
        if isinstance(counts, list):
            yield from (_problem(fault) for fault in counts)
            return
        self.result.facts.pixels.update(counts)
        indexed = {k: n for k, n in (self.sample.pixel_counts or {}).items() if k != NO_CLASS}
        if Counter(indexed) != Counter(counts):
            detail = f"the index counts {_sorted(indexed)} pixels by label, "
            yield Problem(Kind.WRONG_PIXEL_COUNTS, f"{detail}the label map has {_sorted(counts)}")


def _bytes(file: int, extent: Extent) -> bytes:
    offset, size = extent
    if offset < 0 or size < 0:
        raise ValueError(f"the index says {size} bytes at byte {offset}")
    data = os.pread(file, size, offset)
    if len(data) < size:
        raise ValueError(f"the file ends {size - len(data)} bytes before the end of this sample")
    return data


def _decode(data: bytes) -> np.ndarray:
    """Pixels of an image without damage, as far as any decoder notices.

    OpenCV fills what is missing of a PNG; PIL, behind `normalise`, does not.
    """
    if simplejpeg is None or not data.startswith(JPEG_START):
        normalise(data, None)
    return decode(data)


def _problem(fault: Fault) -> Problem:
    return Problem(Kind(fault.kind.value), fault.detail, fault.item)


def _sorted(counts: dict[int, int] | Counter[int]) -> dict[int, int]:
    return {label: n for label, n in sorted(counts.items()) if n}
