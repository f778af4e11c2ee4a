"""What is packed and how: the same for every shard and every part of a set."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from lit_detseg import __version__
from lit_detseg.data.packing.packed_shard import PackedShard, ascending
from lit_detseg.data.packing.reader import Reader
from lit_detseg.data.packing.tally import Tally
from lit_detseg.data.packing.work_folder import RefusedError
from lit_detseg.errors import UserError
from lit_detseg.runs.directory import write_atomically
from lit_detseg.structures import LabelMap

PART_FILE = "part.json"
PART_FORMAT = 1


@dataclass(frozen=True)
class Part:
    """Some of the shards of a set: part `number` of `of`, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read "3/16".

        Raises:
            UserError: when it is not a number up to another one.
        """
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise UserError(f"--part {text}: write I/N with I from 1 to N, for example 3/16.")
        return cls(int(found[1]), int(found[2]))

    def folder(self, out: Path) -> Path:
        """Where this part of `out` is put."""
        return out.with_name(f"{out.name}.part-{self.number:04d}-of-{self.of:04d}")

    def shards(self, num_shards: int) -> range:
        """The shards of this part: neighbours, and as many as other parts have, or one fewer.

        >>> [list(Part(number, 3).shards(5)) for number in (1, 2, 3)]
        [[0], [1, 2], [3, 4]]
        """
        first, end = (num_shards * edge // self.of for edge in (self.number - 1, self.number))
        return range(first, end)


@dataclass(frozen=True)
class Plan:
    """What is packed and how."""

    source: dict[str, Any]
    label_map: LabelMap
    on_error: str
    samples_per_shard: int
    images: int
    keys: str | None  # SHA-256 of all keys, where the reader knows them without reading
    dropped: Tally  # rows that belong to no image

    @classmethod
    def of(cls, reader: Reader, on_error: str, samples_per_shard: int) -> "Plan":
        """Look at a data set."""
        keys = getattr(reader, "keys", None)
        return cls(
            source=reader.source,
            label_map=reader.label_map,
            on_error=on_error,
            samples_per_shard=samples_per_shard,
            images=len(reader),
            keys=None if keys is None else _sha256(keys),
            dropped=Tally.of(reader.faults),
        )

    @property
    def num_shards(self) -> int:
        """Shards of the whole set, with those of which no image is left."""
        return -(-self.images // self.samples_per_shard)

    def to_json(self) -> dict[str, Any]:
        """For the file of a part: only what JSON has."""
        maps = {"label_map": self.label_map.to_json(), "dropped": self.dropped.to_json()}
        return json.loads(json.dumps(vars(self) | maps | {"lit_detseg": __version__}))

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Plan":
        """Undo `to_json`."""
        maps = {
            "label_map": LabelMap.from_json(stored["label_map"]),
            "dropped": Tally.from_json(stored["dropped"]),
        }
        rest = {name: stored[name] for name in stored if name != "lit_detseg"}
        return cls(**{**rest, **maps})

    def report(self, packed: Sequence[PackedShard]) -> dict[str, Any]:
        """What the index says about the making of the set."""
        dropped, clipped = self._all_dropped(packed), Tally()
        objects_read = len(self.dropped)
        for one in packed:
            clipped.join(one.clipped)
            objects_read += one.objects_read
        return {
            "source": self.source,
            "on_error": self.on_error,
            "samples_per_shard": self.samples_per_shard,
            "images_read": sum(one.images_read for one in packed),
            "objects_read": objects_read,
            "dropped": dropped.by_kind(),
            "clipped": len(clipped),
            "dropped_rows": dropped.rows,
            "clipped_rows": clipped.rows,
        }

    def refuse_faults(self, packed: Sequence[PackedShard], title: str) -> None:
        """Stop where bad rows must not be.

        Raises:
            RefusedError: with a list of them.
            ValueError: when the shards are not in the order of their keys, a bug of the reader.
        """
        last = ""
        for one in packed:
            ascending(last, one.first_key)
            last = one.last_key
        dropped = self._all_dropped(packed)
        if self.on_error == "fail" and dropped:
            raise RefusedError(
                f"{title} has bad rows ({_in_words(dropped)}); nothing was written.\n"
                f"{dropped.listing()}\n"
                "Mend them, or pack with --on-error drop (leaves out bad objects and bad images) "
                "or --on-error clip (the same, but cuts boxes at the border of the image)."
            )

    def refuse_nothing(self, packed: Sequence[PackedShard], title: str) -> None:
        """Stop where no image is left.

        Raises:
            RefusedError: with the reasons.
        """
        if any(one.keys for one in packed):
            return
        dropped = self._all_dropped(packed)
        why = f"all were left out ({_in_words(dropped)})\n{dropped.listing()}"
        raise RefusedError(
            f"{title}: no image to pack, {why if dropped else 'it has none'}\nNothing was written."
        )

    def _all_dropped(self, packed: Iterable[PackedShard]) -> Tally:
        dropped = Tally(self.dropped.counts.copy(), list(self.dropped.rows))
        for one in packed:
            dropped.join(one.dropped)
        return dropped


def write_part(folder: Path, plan: Plan, part: Part, packed: Sequence[PackedShard]) -> None:
    """Write the file that makes a folder a finished part."""
    stored = {
        "format": PART_FORMAT,
        "plan": plan.to_json(),
        "part": vars(part),
        "shards": [one.to_json() for one in packed],
    }
    write_atomically(folder / PART_FILE, json.dumps(stored, ensure_ascii=False))


class PackedPart(NamedTuple):
    """What the file of a finished part says."""

    folder: Path
    part: Part
    plan: dict[str, Any]  # as stored: parts are compared before their plan is believed
    shards: list[PackedShard]


def read_part(folder: Path) -> PackedPart:
    """The finished part in a folder.

    Raises:
        UserError: when there is none, or none that we can read.
    """
    path = folder / PART_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["format"] != PART_FORMAT:
            raise ValueError(f"format {stored['format']!r}, not {PART_FORMAT}")
        shards = [PackedShard.from_json(one) for one in stored["shards"]]
        return PackedPart(folder, Part(**stored["part"]), stored["plan"], shards)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Pack this part again."
        ) from error


def _in_words(dropped: Tally) -> str:
    return ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in dropped.by_kind().items())


def _sha256(keys: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for key in keys:
        digest.update(key.encode(errors="surrogatepass") + b"\n")
    return digest.hexdigest()
