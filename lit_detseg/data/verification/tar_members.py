"""The members of a tar file, as webdataset names them, and where their bytes lie."""

import os
import re
import tarfile
from pathlib import Path
from typing import NamedTuple

from lit_detseg.data.packing.tar_writer import TAR_BLOCK

IMAGE_SUFFIXES = ("jpg", "jpeg", "png")
RECORD_SUFFIX = "json"
LABEL_SUFFIX = "label.png"


class TarMember(NamedTuple):
    """A file in a tar file."""

    name: str
    offset: int  # of its first byte
    size: int  # bytes
    is_plain: bool  # its bytes lie in one piece; not so those of sparse files


class Walk(NamedTuple):
    """What is found by going through a tar file from its start."""

    members: list[TarMember]  # regular files, in order
    others: int  # folders, links and the like
    damage: str | None  # why the walk ended before the end of the archive


def split_name(name: str) -> tuple[str, str] | None:
    """Key and suffix of a member: webdataset's rule, the suffix in lower case.

    >>> split_name("val/a.label.PNG")
    ('val/a', 'label.png')
    >>> split_name("README") is None
    True
    """
    match = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", name)
    if match is None or re.match(r"__[^/]*__($|/)", name):  # webdataset's own notes
        return None
    return match.group(1), match.group(2).lower()


def walk(path: Path) -> Walk:
    """All members of a tar file that is not compressed.

    Raises:
        OSError: when the file cannot be opened.
    """
    members: list[TarMember] = []
    others = 0
    end = 0
    with path.open("rb") as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # would hold every header
                    end = tar.offset
                    if member.isreg():
                        where = member.offset_data, member.size
                        members.append(TarMember(member.name, *where, not member.issparse()))
                    else:
                        others += 1
        except (tarfile.TarError, ValueError, EOFError, OverflowError) as error:
            return Walk(members, others, f"behind member {len(members) + others}: {error}")
        after = os.pread(file.fileno(), TAR_BLOCK, end)
    if after.strip(b"\0"):  # tarfile takes a header that it cannot read for the end
        return Walk(members, others, f"no header at byte {end}, behind {_last(members)}")
    return Walk(members, others, None)


def _last(members: list[TarMember]) -> str:
    return members[-1].name if members else "nothing"
