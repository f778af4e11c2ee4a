"""Samples to one tar file that any webdataset reader opens, with the places where they lie."""

from collections import Counter
from pathlib import Path

from lit_detseg.data.images import EncodedImage
from lit_detseg.data.index import Shard
from lit_detseg.data.packing.outcome import PixelClasses
from lit_detseg.data.packing.tar_writer import TarWriter
from lit_detseg.data.records import Record


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
        self._tar: TarWriter | None = None

    def add(self, record: Record, image: EncodedImage, pixels: PixelClasses | None = None) -> None:
        """Append a sample."""
        if self._tar is None:
            self._tar = TarWriter(self.path)
        text = record.to_bytes()
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
