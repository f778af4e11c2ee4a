"""Some samples of a tar made by others: decode the images and translate the annotations."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from lit_detseg.data.foreign_tars.annotations import Annotation, categories, parse, to_sample
from lit_detseg.data.foreign_tars.classes import Classes
from lit_detseg.data.foreign_tars.groups import Group
from lit_detseg.data.packing.checks import WHOLE_IMAGE, Fault, Kind
from lit_detseg.data.packing.outcome import check_sample
from lit_detseg.data.records import Record
from lit_detseg.data.verification.tar_members import TarMember

AS_IT_IS = (
    "it cannot stay as it is: only an upright 8-bit JPEG (RGB or grey) or PNG is read the same "
    "by every decoder"
)


class Indexed(NamedTuple):
    """What became of a sample."""

    group: Group
    record: Record | None  # None: left out
    is_annotated: bool
    is_in_place: bool  # whether the tar holds just that record
    class_counts: dict[int, int]
    objects_read: int
    faults: list[Fault]
    clipped: list[Fault]


@dataclass(frozen=True)
class IndexJob:
    """Check some samples of a tar.

    Args:
        path: of the tar.
        groups: the samples.
        classes: what class names and numbers mean.
        clip: whether boxes are cut at the border, not left out.
    """

    path: Path
    groups: Sequence[Group]
    classes: Classes
    clip: bool

    def check(self) -> list[Indexed]:
        """The outcome of each sample."""
        with self.path.open("rb") as file:
            return [self._index(group, file.fileno()) for group in self.groups]

    def _index(self, group: Group, file: int) -> Indexed:
        where = f"{self.path.name}, {group.key}"
        image = _bytes(file, group.image)
        text = None if group.record is None else _bytes(file, group.record)
        faults: list[Fault] = []
        annotation: Annotation | None = None
        try:
            annotation = None if text is None else parse(text)
        except (ValueError, RecursionError) as error:
            faults.append(Fault(Kind.UNREADABLE_ANNOTATION, where, str(error)))
        sample, found = to_sample(annotation, group.key, image, where, self.classes)
        outcome = check_sample(sample, faults + found, self.classes.label_map, self.clip)
        faults = outcome.faults
        if outcome.image is not None and outcome.image.data != image:
            faults = [*faults, Fault(Kind.UNREADABLE_IMAGE, where, AS_IT_IS)]
        record = outcome.record
        if annotation is not None:
            record = replace(record, file_name=str(annotation.stored.get("file_name", "")))
        is_left_out = any(fault.kind in WHOLE_IMAGE for fault in faults)
        return Indexed(
            group=group,
            record=None if is_left_out else record,
            is_annotated=annotation is not None,
            is_in_place=text is not None and _holds(text, record),
            class_counts=dict(Counter(item.label for item in record.objects)),
            objects_read=outcome.objects_read,
            faults=faults,
            clipped=[] if is_left_out else outcome.clipped,
        )


def _holds(text: bytes, record: Record) -> bool:
    """Whether a JSON file is that record in our own form."""
    try:
        return json.loads(text) == record.to_json()
    except (ValueError, RecursionError):
        return False


def called_classes(path: Path, groups: Sequence[Group]) -> Iterator[int | str]:
    """What the annotations of a tar call their classes; what cannot be read is found out later."""
    with path.open("rb") as file:
        for group in groups:
            if group.record is None:
                continue
            try:
                annotation = parse(_bytes(file.fileno(), group.record))
            except (ValueError, RecursionError):
                continue
            yield from categories(annotation)


def _bytes(file: int, member: TarMember) -> bytes:
    return os.pread(file, member.size, member.offset)
