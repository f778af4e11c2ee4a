"""Samples to one tar file that any webdataset reader opens, with the places where they lie."""

import hashlib
import json
import os
import tarfile
from collections import Counter
from pathlib import Path

from lit_detseg.data.images import EncodedImage
from lit_detseg.data.index import Shard
from lit_detseg.data.packing.outcome import PixelClasses
from lit_detseg.data.records import Record

TAR_BLOCK = 512  # bytes; headers and contents start at multiples of it


class ShardWriter:
    """Writes samples, in order, into one tar file, and notes where they lie.

    The file is begun with the first sample: without samples there is none.

    Args:
        path: of the tar file.
        name: what the index will call it, if not the file's own name.

    Attributes:
        keys: of the samples.
        rows: one a sample: image offset and size, record offset and size, height, width; and
            offset and size of the PNG of the pixels' classes, where there is one.
        class_counts: objects of each label in each sample.
        pixel_counts: pixels of each label in each sample that has the classes of its pixels.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.path = path
        self.name = path.name if name is None else name
        self.keys: list[str] = []
        self.rows: list[list[int]] = []
        self.class_counts: list[dict[int, int]] = []
        self.pixel_counts: list[dict[int, int]] = []
        self._tar: _TarWriter | None = None

    def add(self, record: Record, image: EncodedImage, pixels: PixelClasses | None = None) -> None:
        """Append a sample."""
        if self._tar is None:
            self._tar = _TarWriter(self.path)
        text = json.dumps(
            record.to_json(), ensure_ascii=False, sort_keys=True, separators=(",", ":")
        ).encode()
        key = record.image_id
        row = [self._tar.add(f"{key}.{image.suffix}", image.data), len(image.data)]
        row += [self._tar.add(f"{key}.json", text), len(text), image.height, image.width]
        if pixels is not None:
            row += [self._tar.add(f"{key}.label.png", pixels.png), len(pixels.png)]
            self.pixel_counts.append(pixels.counts)
        self.keys.append(key)
        self.rows.append(row)
        self.class_counts.append(dict(Counter(item.label for item in record.objects)))

    def close(self) -> Shard | None:
        """End the file and wait until it is on the disk; None when there is none."""
        if self._tar is None:
            return None
        size, sha256 = self._tar.close()
        return Shard(self.name, len(self.keys), size, sha256)


class _TarWriter:
    """A plain ustar file of equal owner, mode and time, which knows where its members lie."""

    def __init__(self, path: Path) -> None:
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

    def close(self) -> tuple[int, str]:
        """End the archive and wait until it is on the disk; its bytes and their SHA-256."""
        end = self._file.tell() + 2 * TAR_BLOCK
        self._write(bytes(2 * TAR_BLOCK + -end % tarfile.RECORDSIZE))
        size = self._file.tell()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return size, self._sha256.hexdigest()

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._sha256.update(data)
