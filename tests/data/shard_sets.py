"""Shard sets for tests: a few images with known content, packed as users pack theirs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.images import encode_png
from lit_detseg.data.packing.checks import Fault
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.packing.reader import Reader
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.data.records import Object, RawSample
from lit_detseg.structures import LabelMap

ANIMALS = LabelMap(("cat", "dog"))


class ListReader:
    """A raw data set that is a list."""

    title = "a list of images"
    source: dict[str, Any] = {"data_set": "list"}
    faults: tuple[Fault, ...] = ()

    def __init__(self, samples: Sequence[RawSample], label_map: LabelMap = ANIMALS) -> None:
        self.samples = samples
        self.label_map = label_map

    def __len__(self) -> int:
        return len(self.samples)

    def read(self, rank: int) -> tuple[RawSample, list[Fault]]:
        return self.samples[rank], []


def each(reader: Reader) -> Iterator[tuple[RawSample, list[Fault]]]:
    """Every image of a reader, in order."""
    return map(reader.read, range(len(reader)))


def raw_sample(key: str, pixels: np.ndarray, objects: Sequence[Object] = ()) -> RawSample:
    """An image of known pixels, losslessly encoded."""
    return RawSample(key, encode_png(pixels), *pixels.shape[:2], tuple(objects), file_name=key)


def write_shards(
    folder: Path,
    samples: Sequence[RawSample],
    samples_per_shard: int = 2,
    label_map: LabelMap = ANIMALS,
) -> Path:
    """Pack images as the set `folder`."""
    pack(ListReader(samples, label_map), folder, samples_per_shard=samples_per_shard)
    return folder


def write_numbered(folder: Path, images: int, samples_per_shard: int = 4, prefix: str = "") -> Path:
    """Pack one-coloured 8 x 8 images whose red value is their number."""
    return write_shards(
        folder,
        [
            raw_sample(f"{prefix}{number:04d}", np.full((8, 8, 3), (number, 0, 255), np.uint8))
            for number in range(images)
        ],
        samples_per_shard,
    )


def write_shapes(folder: Path, images: int, samples_per_shard: int = 4) -> Path:
    """Pack drawn shapes of 48 x 48 pixels."""
    pack(ShapesReader(images, size=48), folder, samples_per_shard=samples_per_shard)
    return folder
