"""Shard sets as a raw data set: to join several, to divide one, or to take some of its images.

Images and records come out as they went in, byte for byte: nothing is decoded or turned again.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.images import JPEG_START, EncodedImage
from lit_detseg.data.index import ShardIndex
from lit_detseg.data.packing.checks import Fault
from lit_detseg.data.packing.outcome import StoredSample
from lit_detseg.data.records import RawSample
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError

PNG_START = b"\x89PNG"


class ShardSetReader:
    """The images of one or several shard sets, in the order of their keys.

    Args:
        folders: the sets.
        keys: the images wanted; all of them without it.

    Raises:
        UserError: when a folder is not a shard set, the label maps differ, two sets share a key, or
            a wanted key is in none.
    """

    def __init__(self, folders: Sequence[Path], keys: Sequence[str] | None = None) -> None:
        self._shards = ShardReader(folders)
        indexes = [ShardIndex.read(folder) for folder in folders]
        self._labels = _Labels(folders, indexes)
        names = ", ".join(map(str, folders))
        self.title = f"Shards {names}"
        self.label_map = self._shards.label_map
        self.faults: tuple[Fault, ...] = ()
        self.source: dict[str, Any] = {
            "data_set": "shards",
            "sets": [
                {"sha256": sha256, "source": index.report.get("source")}
                for sha256, index in zip(self._shards.sha256, indexes, strict=True)
            ],
        }
        number_of = {key: number for number, key in enumerate(self._shards.keys.tolist())}
        wanted = sorted(number_of if keys is None else set(keys))
        unknown = [key for key in wanted if key not in number_of]
        if unknown:
            raise UserError(
                f"{len(unknown)} of {len(wanted)} keys are not in {names}: "
                f"{', '.join(unknown[:5])}{', ...' if len(unknown) > 5 else ''}."
            )
        self.keys: Sequence[str] = wanted
        self._numbers = [number_of[key] for key in wanted]

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, rank: int) -> tuple[RawSample, list[Fault]]:
        """One image as it is stored."""
        number = self._numbers[rank]
        record = self._shards.record(number)
        data = self._shards.image_bytes(number)
        suffix = _suffix(data)
        size = (record.height, record.width)
        sample = StoredSample(
            record.image_id,
            data,
            *size,
            record.objects,
            record.source_id,
            record.file_name,
            record.void,
            self._labels.png(number),
            stored=None if suffix is None else EncodedImage(data, suffix, *size),
        )
        return sample, []


class _Labels:
    """The PNGs of the pixels' classes, where the sets have them."""

    def __init__(self, folders: Sequence[Path], indexes: Sequence[ShardIndex]) -> None:
        have = [index.label is not None for index in indexes]
        if any(have) and not all(have):
            without = [str(f) for f, has in zip(folders, have, strict=True) if not has]
            raise UserError(
                f"{', '.join(without)} has no classes of pixels, the other sets have. "
                "Join sets for the same task."
            )
        self._paths = [
            folder / s.name for folder, i in zip(folders, indexes, strict=True) for s in i.shards
        ]
        firsts = np.cumsum([0, *(len(index.shards) for index in indexes)])
        self._shard_of = np.concatenate(
            [i.shard_of + n for i, n in zip(indexes, firsts[:-1], strict=True)]
        )
        members = [index.label for index in indexes if index.label is not None]
        self._offsets = np.concatenate([m.offset for m in members]) if members else None
        self._sizes = np.concatenate([m.size for m in members]) if members else None

    def png(self, number: int) -> bytes | None:
        """Those of a sample, numbered through all sets."""
        if self._offsets is None or self._sizes is None:
            return None
        with self._paths[self._shard_of[number]].open("rb") as tar:
            return os.pread(tar.fileno(), int(self._sizes[number]), int(self._offsets[number]))


def _suffix(data: bytes) -> str | None:
    """The suffix of an image as we store it; None for another format, in shards of others."""
    if data.startswith(JPEG_START):
        return "jpg"
    return "png" if data.startswith(PNG_START) else None
