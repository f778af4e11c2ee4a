"""One shard of a set: packing it, and the note beside it that says how that went.

The note is written when the shard is on the disk under its name. It names, by a SHA-256, everything
that the shard's bytes depend on, so that an attempt that was cut short goes on behind the last
shard whose input is still the same. From the notes alone the index is made.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.index import Member, Shard, ShardIndex
from lit_detseg.data.packing.input_digest import InputDigest
from lit_detseg.data.packing.outcome import check_sample
from lit_detseg.data.packing.reader import Reader
from lit_detseg.data.packing.shard_writer import ShardWriter
from lit_detseg.data.packing.tally import Tally
from lit_detseg.runs.directory import sync_path, write_atomically
from lit_detseg.structures import LabelMap

SHARD_NAME = "shard-{:06d}.tar"


@dataclass(frozen=True)
class PackedShard:
    """What became of the images of one shard."""

    number: int
    input: str  # SHA-256 of all that the shard's bytes depend on
    shard: Shard | None  # None: none of its images is left
    first_key: str  # of the input, left out or not
    last_key: str
    images_read: int
    objects_read: int
    keys: list[str]
    rows: list[list[int]]  # as in `ShardWriter`
    class_counts: list[dict[int, int]]
    pixel_counts: list[dict[int, int]]
    dropped: Tally
    clipped: Tally

    def to_json(self) -> dict[str, Any]:
        """For the note."""
        return vars(self) | {
            "shard": None if self.shard is None else vars(self.shard),
            "dropped": self.dropped.to_json(),
            "clipped": self.clipped.to_json(),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "PackedShard":
        """Undo `to_json`."""
        return cls(
            **{
                **stored,
                "shard": None if stored["shard"] is None else Shard(**stored["shard"]),
                "class_counts": _with_numbers(stored["class_counts"]),
                "pixel_counts": _with_numbers(stored["pixel_counts"]),
                "dropped": Tally.from_json(stored["dropped"]),
                "clipped": Tally.from_json(stored["clipped"]),
            }
        )

    @classmethod
    def read(cls, note: Path) -> "PackedShard | None":
        """The note of a shard, or None where there is none that can be read."""
        try:
            return cls.from_json(json.loads(note.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class ShardPacker:
    """Packs the shards of a data set into a folder, one at a time, in any order.

    Args:
        reader: the data set.
        shards: the folder of the tar files.
        notes: the folder of the notes.
        samples_per_shard: images of the input per shard.
        clip: whether boxes are cut at the border, not left out.
    """

    reader: Reader
    shards: Path
    notes: Path
    samples_per_shard: int
    clip: bool

    def ranks(self, number: int) -> range:
        """The images of a shard."""
        start = number * self.samples_per_shard
        return range(start, min(start + self.samples_per_shard, len(self.reader)))

    def note(self, number: int) -> Path:
        """Where the note of a shard is."""
        return self.notes / Path(SHARD_NAME.format(number)).with_suffix(".json")

    def __call__(self, number: int, done: Callable[[int], None]) -> bool:
        """Pack a shard, unless it is there and made of the same input.

        Args:
            number: of the shard.
            done: called with the number of images that were finished since the last call.

        Returns:
            Whether the shard was there.
        """
        if self._is_there(number):
            done(len(self.ranks(number)))
            return True
        path, note = self.shards / SHARD_NAME.format(number), self.note(number)
        # Without its note a shard does not count, whatever follows.
        note.unlink(missing_ok=True)
        sync_path(self.notes)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            packed = self._write(number, ShardWriter(temporary, path.name), done)
            if packed.shard is None:
                path.unlink(missing_ok=True)
            else:
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_path(self.shards)
        write_atomically(note, json.dumps(packed.to_json(), ensure_ascii=False))
        return False

    def _is_there(self, number: int) -> bool:
        packed = PackedShard.read(self.note(number))
        if packed is None or packed.number != number:
            return False
        path = self.shards / SHARD_NAME.format(number)
        size = path.stat().st_size if path.is_file() else None
        if size != (None if packed.shard is None else packed.shard.bytes):
            return False
        digest = InputDigest(self.reader.label_map, self.clip)
        for rank in self.ranks(number):
            digest.add(*self.reader.read(rank))
        return digest.hexdigest() == packed.input

    def _write(self, number: int, writer: ShardWriter, done: Callable[[int], None]) -> PackedShard:
        digest = InputDigest(self.reader.label_map, self.clip)
        dropped, clipped = Tally(), Tally()
        objects_read = 0
        ranks = self.ranks(number)
        first_key = last_key = ""
        for rank in ranks:
            sample, faults = self.reader.read(rank)
            last_key = ascending(last_key, sample.image_id)
            first_key = first_key or last_key
            digest.add(sample, faults)
            outcome = check_sample(sample, faults, self.reader.label_map, self.clip)
            objects_read += outcome.objects_read
            dropped.add(outcome.faults)
            clipped.add(outcome.clipped)
            if outcome.image is not None:
                writer.add(outcome.record, outcome.image, outcome.pixels)
            done(1)
        return PackedShard(
            number=number,
            input=digest.hexdigest(),
            shard=writer.close(),
            first_key=first_key,
            last_key=last_key,
            images_read=len(ranks),
            objects_read=objects_read,
            keys=writer.keys,
            rows=writer.rows,
            class_counts=writer.class_counts,
            pixel_counts=writer.pixel_counts,
            dropped=dropped,
            clipped=clipped,
        )


def ascending(last: str, key: str) -> str:
    """The next key of a reader.

    Raises:
        ValueError: when it does not come after the last one: a bug of the reader.
    """
    if key <= last:
        raise ValueError(f"Reader gives key {key!r} after {last!r}: not sorted")
    return key


def assemble(
    label_map: LabelMap, packed: Sequence[PackedShard], report: dict[str, Any]
) -> ShardIndex:
    """The index of shards that lie in one folder, in the order of their numbers."""
    kept = [one for one in packed if one.shard is not None]
    columns = {len(row) for one in kept for row in one.rows} or {6}
    if len(columns) > 1:
        raise ValueError(
            "Reader gives the classes of the pixels for some images and not for others"
        )
    rows = np.array([row for one in kept for row in one.rows], dtype=np.int64)
    rows = rows.reshape(-1, columns.pop())
    has_pixels = rows.shape[1] == 8
    return ShardIndex(
        label_map=label_map,
        shards=tuple(one.shard for one in kept if one.shard is not None),
        keys=tuple(key for one in kept for key in one.keys),
        shard_of=np.repeat(
            np.arange(len(kept)), np.array([len(one.keys) for one in kept], np.int64)
        ),
        image=Member(rows[:, 0], rows[:, 1]),
        record=Member(rows[:, 2], rows[:, 3]),
        sizes=rows[:, 4:6],
        class_counts=tuple(counts for one in kept for counts in one.class_counts),
        report=report,
        label=Member(rows[:, 6], rows[:, 7]) if has_pixels else None,
        pixel_counts=(
            tuple(counts for one in kept for counts in one.pixel_counts) if has_pixels else None
        ),
    )


def _with_numbers(stored: list[dict[str, int]]) -> list[dict[int, int]]:
    return [{int(label): count for label, count in counts.items()} for counts in stored]
