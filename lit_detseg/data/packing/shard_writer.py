"""Samples to tar files that any webdataset reader opens, and the index of where they lie."""

import hashlib
import json
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.images import EncodedImage
from lit_detseg.data.index import Member, Shard, ShardIndex
from lit_detseg.data.records import Record
from lit_detseg.structures import LabelMap

SHARD_NAME = "shard-{:06d}.tar"
TAR_BLOCK = 512  # bytes; headers and contents start at multiples of it


class ShardWriter:
    """Writes samples, in order, into the tar files of a folder, and notes where they lie."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys: list[str] = []
        self._shards: list[Shard] = []
        self._tar: TarWriter | None = None
        self._number = -1  # the shard being written
        # One row a sample: shard, image offset and size, record offset and size, height, width.
        self._rows: list[tuple[int, ...]] = []
        self._class_counts: list[dict[int, int]] = []

    def add(self, number: int, record: Record, image: EncodedImage) -> None:
        """Append a sample to shard `number`, which is the last one or a later one."""
        if number != self._number or self._tar is None:
            self._close()
            self._tar, self._number = TarWriter(self.folder / SHARD_NAME.format(number)), number
        text = json.dumps(
            record.to_json(), ensure_ascii=False, sort_keys=True, separators=(",", ":")
        ).encode()
        image_at = self._tar.add(f"{record.image_id}.{image.suffix}", image.data)
        record_at = self._tar.add(f"{record.image_id}.json", text)
        self._tar.samples += 1
        self.keys.append(record.image_id)
        self._rows.append(
            (len(self._shards), image_at, len(image.data), record_at, len(text), *image[2:])
        )
        self._class_counts.append(dict(Counter(item.label for item in record.objects)))

    def finish(self, label_map: LabelMap, report: dict[str, Any]) -> ShardIndex:
        """Close the last shard; the index of all."""
        self._close()
        rows = np.array(self._rows, dtype=np.int64).reshape(-1, 7)
        return ShardIndex(
            label_map=label_map,
            shards=tuple(self._shards),
            keys=tuple(self.keys),
            shard_of=rows[:, 0],
            image=Member(rows[:, 1], rows[:, 2]),
            record=Member(rows[:, 3], rows[:, 4]),
            sizes=rows[:, 5:7],
            class_counts=tuple(self._class_counts),
            report=report,
        )

    def _close(self) -> None:
        if self._tar is not None:
            self._shards.append(self._tar.close())
            self._tar = None


class TarWriter:
    """A plain ustar file of equal owner, mode and time, which knows where its members lie."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = 0
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()

    def add(self, name: str, data: bytes) -> int:
        """Append a member; the offset of its first byte."""
        member = tarfile.TarInfo(name)  # mtime, uid and gid 0
        member.size, member.mode = len(data), 0o644
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        offset = self._file.tell()
        self._write(data + bytes(-len(data) % TAR_BLOCK))
        return offset

    def close(self) -> Shard:
        """End the archive and wait until it is on the disk."""
        end = self._file.tell() + 2 * TAR_BLOCK
        self._write(bytes(2 * TAR_BLOCK + -end % tarfile.RECORDSIZE))
        size = self._file.tell()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Shard(self.path.name, self.samples, size, self._sha256.hexdigest())

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
