"""The files of a shard set against its index: there, unchanged, and walked as webdataset does."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from lit_detseg.data.index import INDEX_FILE, Member, Shard, ShardIndex
from lit_detseg.data.verification.findings import Finding, Kind, Problem
from lit_detseg.data.verification.samples import Extent, Result
from lit_detseg.data.verification.tar_members import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIX,
    RECORD_SUFFIX,
    TarMember,
    split_name,
    walk,
)


class ExpectedFile(NamedTuple):
    """A file that the index says lies in a tar."""

    key: str
    suffixes: tuple[str, ...]  # that it may have
    extent: Extent


@dataclass(frozen=True)
class FileJob:
    """Check one tar file as a whole.

    Args:
        shards: the set, as the user names it.
        file: what the index says of the file.
        expected: the members that the index names, sample by sample.
        has_more: whether other members are no fault: the tar was made by others.
    """

    shards: str
    file: Shard
    expected: Sequence[ExpectedFile]
    has_more: bool

    def check(self) -> Result:
        """Compare size, checksum and members."""
        path = Path(self.shards) / self.file.name
        result = Result()
        try:
            problems = list(self._problems(path))
        except OSError as error:
            result.missing = self.file.name, str(error.strerror)
            return result
        result.findings = [Finding.at(one, self.shards, self.file.name) for one in problems]
        return result

    def failed(self, reason: str) -> Result:
        """The answer when the process of this job died."""
        return Result([Finding(Kind.CHECK_FAILED, reason, self.shards, self.file.name)])

    def _problems(self, path: Path) -> Iterator[Problem]:
        yield from content_problems(path, self.file)
        walked = walk(path)
        if walked.damage is not None:
            yield Problem(Kind.DAMAGED_TAR, walked.damage)
        yield from self._member_problems(walked.members)

    def _member_problems(self, members: list[TarMember]) -> Iterator[Problem]:
        named = {(m.offset, m.size): split_name(m.name) for m in members}
        missing = [
            one
            for one in self.expected
            if (found := named.get(one.extent)) is None
            or found[0] != one.key
            or found[1] not in one.suffixes
        ]
        if missing:
            first = f"{missing[0].key}.{missing[0].suffixes[0]}"
            yield Problem(
                Kind.WRONG_MEMBERS,
                f"{len(missing)} of {len(self.expected)} files are not where the index says: "
                f"{first}, {missing[0].extent[1]} bytes at byte {missing[0].extent[0]}, and so on",
            )
        images = [one.extent for one in self.expected if one.suffixes == IMAGE_SUFFIXES]
        if images != sorted(images):
            yield Problem(Kind.WRONG_MEMBERS, "the images stand in another order in the index")
        if self.has_more:
            return
        wanted = {one.extent for one in self.expected}
        more = [m.name for m in members if (m.offset, m.size) not in wanted]
        if more:
            detail = f"{len(more)} files are not in the index: {more[0]}, and so on"
            yield Problem(Kind.WRONG_MEMBERS, detail)
        groups = [key for key, _ in groupby(_key(member.name) for member in members)]
        if len(set(groups)) < len(groups):
            torn = next(key for key in groups if groups.count(key) > 1)
            detail = f"the files of sample {torn} do not stand together: webdataset splits it"
            yield Problem(Kind.WRONG_MEMBERS, detail)


def content_problems(path: Path, expected: Shard) -> Iterator[Problem]:
    """Whether a file has the size and the checksum that an index states.

    Raises:
        OSError: when it cannot be read.
    """
    size = path.stat().st_size
    if size != expected.bytes:
        detail = f"the file has {size} bytes, the index says {expected.bytes}"
        yield Problem(Kind.WRONG_FILE_SIZE, detail)
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.sha256:
        detail = f"SHA-256 is {found}, the index says {expected.sha256}"
        yield Problem(Kind.WRONG_CHECKSUM, detail)


def expected_files(index: ShardIndex, samples: Sequence[int]) -> list[ExpectedFile]:
    """The members of a shard with these samples; without the records if those lie elsewhere."""
    members: list[tuple[tuple[str, ...], Member]] = [(IMAGE_SUFFIXES, index.image)]
    if index.records is None:
        members.append(((RECORD_SUFFIX,), index.record))
    if index.label is not None:
        members.append(((LABEL_SUFFIX,), index.label))
    return [
        ExpectedFile(index.keys[sample], suffixes, (int(m.offset[sample]), int(m.size[sample])))
        for sample in samples
        for suffixes, m in members
        if m.size[sample] or suffixes == IMAGE_SUFFIXES
    ]


def expected_records(index: ShardIndex) -> list[ExpectedFile]:
    """The members of the file of the records."""
    extents = zip(index.record.offset.tolist(), index.record.size.tolist(), strict=True)
    return [
        ExpectedFile(key, (RECORD_SUFFIX,), extent)
        for key, extent in zip(index.keys, extents, strict=True)
        if extent[1]
    ]


def stray_files(shards: str, index: ShardIndex) -> Iterator[Finding]:
    """Files in the folder that the index does not name. Folders are other tools' business."""
    known = {INDEX_FILE, *(shard.name for shard in index.shards)}
    if index.records is not None:
        known.add(index.records.name)
    for path in sorted(Path(shards).iterdir()):
        if path.is_file() and path.name not in known:
            detail = "the index does not name this file"
            yield Finding(Kind.STRAY_FILE, detail, shards, path.name)


def _key(name: str) -> str:
    split = split_name(name)
    return name if split is None else split[0]
