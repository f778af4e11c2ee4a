"""The index beside the shards: where each sample is and what is in it, without opening a tar.

One JSON file, `index.json`, written last: a folder without it is not a shard set.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.structures import LabelMap, UserError

INDEX_FILE = "index.json"
INDEX_FORMAT = 2


@dataclass(frozen=True)
class Shard:
    """One tar file of a set."""

    name: str
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Member:
    """Where the bytes of files lie: parallel arrays over the samples of a set."""

    offset: np.ndarray  # (S,) int64, first byte of the file's content within its tar
    size: np.ndarray  # (S,) int64, bytes


@dataclass(frozen=True)
class ShardIndex:
    """Everything known about a shard set; arrays run over its samples in stored order."""

    label_map: LabelMap
    shards: tuple[Shard, ...]
    keys: tuple[str, ...]
    shard_of: np.ndarray  # (S,) int64, entry of `shards`
    image: Member
    record: Member
    sizes: np.ndarray  # (S, 2) int64, height and width of the image
    class_counts: tuple[dict[int, int], ...]  # objects of each label in each sample
    report: dict[str, Any]  # source, options and the counts of what was dropped or clipped
    label: Member | None = None  # the PNGs of the pixels' classes, for semantic segmentation
    pixel_counts: tuple[dict[int, int], ...] | None = None  # pixels of each label in each sample
    records: Shard | None = None  # the file that `record` points into; None: the sample's own shard

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shard_lengths(self) -> tuple[int, ...]:
        """Samples per shard, in stored order."""
        return tuple(shard.samples for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Store as `folder/index.json`; the same index gives the same bytes."""
        samples = {
            "key": list(self.keys),
            "shard": self.shard_of.tolist(),
            **_extents("image", self.image),
            **_extents("record", self.record),
            **_extents("label", self.label),
            "size": self.sizes.tolist(),
            "class_counts": _counts_to_json(self.class_counts),
        }
        if self.pixel_counts is not None:
            samples["pixel_counts"] = _counts_to_json(self.pixel_counts)
        stored = {
            "format": INDEX_FORMAT,
            "label_map": self.label_map.to_json(),
            "report": self.report,
            "shards": [vars(shard) for shard in self.shards],
            "samples": samples,
        }
        if self.records is not None:
            stored["records"] = vars(self.records)
        text = json.dumps(stored, separators=(",", ":"), ensure_ascii=False)
        (folder / INDEX_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "ShardIndex":
        """Load `folder/index.json`.

        Raises:
            UserError: when there is no such file, or it is not an index we can read.
        """
        stored = _stored_index(folder)
        try:
            samples = stored["samples"]
            return cls(
                label_map=LabelMap.from_json(stored["label_map"]),
                shards=tuple(Shard(**shard) for shard in stored["shards"]),
                keys=tuple(samples["key"]),
                shard_of=np.asarray(samples["shard"], dtype=np.int64),
                image=_member("image", samples),
                record=_member("record", samples),
                label=_member("label", samples) if "label_offset" in samples else None,
                sizes=np.asarray(samples["size"], dtype=np.int64).reshape(-1, 2),
                class_counts=_counts_from_json(samples["class_counts"]),
                pixel_counts=(
                    _counts_from_json(samples["pixel_counts"])
                    if "pixel_counts" in samples
                    else None
                ),
                records=Shard(**stored["records"]) if "records" in stored else None,
                report=stored["report"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{folder / INDEX_FILE} is not a complete index ({type(error).__name__}: {error}). "
                "Pack the data set again."
            ) from error


def index_sha256(folder: Path) -> str:
    """SHA-256 of the index: the identity of a shard set."""
    return hashlib.sha256((folder / INDEX_FILE).read_bytes()).hexdigest()


def _stored_index(folder: Path) -> dict[str, Any]:
    """The parsed JSON of `folder/index.json`, of a format we know."""
    path = folder / INDEX_FILE
    if not path.is_file():
        raise UserError(
            f"{folder} is not a shard set: it has no {INDEX_FILE}. "
            "Make one with `lit-detseg pack ... --out DIR` and give that DIR."
        )
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON ({error}). Pack the data set again.") from error
    version = stored.get("format") if isinstance(stored, dict) else None
    if version != INDEX_FORMAT:
        raise UserError(
            f"{path} has format {version!r}; this version reads format {INDEX_FORMAT}. "
            "Pack the data set again."
        )
    return stored


def _extents(name: str, member: Member | None) -> dict[str, list[int]]:
    if member is None:
        return {}
    return {f"{name}_offset": member.offset.tolist(), f"{name}_size": member.size.tolist()}


def _member(name: str, samples: dict[str, Any]) -> Member:
    return Member(
        np.asarray(samples[f"{name}_offset"], dtype=np.int64),
        np.asarray(samples[f"{name}_size"], dtype=np.int64),
    )


def _counts_to_json(counts: tuple[dict[int, int], ...]) -> list[dict[str, int]]:
    return [{str(label): n for label, n in sorted(of_sample.items())} for of_sample in counts]


def _counts_from_json(stored: list[dict[str, int]]) -> tuple[dict[int, int], ...]:
    return tuple({int(label): n for label, n in of_sample.items()} for of_sample in stored)
