"""The members of a tar made by others, put together to samples by webdataset's rule."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lit_detseg.data.packing.checks import Fault, Kind
from lit_detseg.data.verification.tar_members import (
    IMAGE_SUFFIXES,
    RECORD_SUFFIX,
    TarMember,
    split_name,
    walk,
)
from lit_detseg.errors import UserError

# First bytes of compressed files, and what undoes them.
COMPRESSED = {
    b"\x1f\x8b": "gunzip",
    b"BZh": "bunzip2",
    b"\xfd7zXZ": "unxz",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}


@dataclass(frozen=True)
class Group:
    """The files of one sample."""

    key: str
    image: TarMember
    record: TarMember | None


@dataclass
class TarContents:
    """What a tar holds.

    Attributes:
        groups: samples with an image, in the order of their images.
        faults: samples that cannot be told apart or read.
        ignored: members by suffix, or by why they are none of a sample; nothing reads them.
    """

    groups: list[Group] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)


def read_groups(path: Path, with_records: bool) -> TarContents:
    """Find the samples of a tar.

    Args:
        path: of the tar, not compressed.
        with_records: whether the JSON files are records; otherwise nothing reads them.

    Raises:
        UserError: when the file is no tar that can be read to its end.
    """
    contents = TarContents()
    members: dict[str, list[tuple[str, TarMember]]] = {}
    for member in _members(path, contents):
        split = split_name(member.name)
        suffix = "a name without a suffix" if split is None else split[1]
        wanted = suffix in IMAGE_SUFFIXES or (with_records and suffix == RECORD_SUFFIX)
        if split is None or not wanted:
            contents.ignored[suffix] += 1
        else:
            members.setdefault(split[0], []).append((suffix, member))
    for key, files in members.items():
        images = [member for suffix, member in files if suffix in IMAGE_SUFFIXES]
        records = [member for suffix, member in files if suffix == RECORD_SUFFIX]
        if not images:
            contents.ignored["json without an image"] += len(records)
            continue
        if len(images) > 1 or len(records) > 1 or not all(member.is_plain for _, member in files):
            names = ", ".join(member.name for _, member in files)
            detail = f"one image and one JSON file, stored in one piece each, not {names}"
            contents.faults.append(Fault(Kind.UNREADABLE_IMAGE, f"{path.name}, {key}", detail))
            continue
        contents.groups.append(Group(key, images[0], records[0] if records else None))
    contents.groups.sort(key=lambda group: group.image.offset)
    return contents


def _members(path: Path, contents: TarContents) -> list[TarMember]:
    try:
        with path.open("rb") as file:
            start = os.pread(file.fileno(), 8, 0)
        for magic, command in COMPRESSED.items():
            if start.startswith(magic):
                raise UserError(
                    f"{path} is compressed: no sample of it could be read without all before it. "
                    f"Unpack it first: {command} {path.name}."
                )
        walked = walk(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Check the path.") from error
    if walked.damage is not None:
        raise UserError(f"{path} is damaged: {walked.damage}. Copy it again.")
    if walked.others:
        contents.ignored["folders and links"] += walked.others
    return walked.members
