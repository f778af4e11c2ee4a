"""Shard sets with anything in them: written by the lowest-level writer, which checks nothing."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from lit_detseg.data.images import EncodedImage, encode_png
from lit_detseg.data.index import Member, ShardIndex
from lit_detseg.data.packing.outcome import PixelClasses
from lit_detseg.data.packing.shard_writer import ShardWriter
from lit_detseg.data.records import Object, Record
from lit_detseg.data.verification.verify import Report, verify
from lit_detseg.structures import LabelMap

ANIMALS = LabelMap(("cat", "dog"))
HEIGHT, WIDTH = 40, 60

SQUARE = [[10.0, 10.0, 30.0, 10.0, 30.0, 30.0, 10.0, 30.0]]
CAT = Object((10.0, 10.0, 30.0, 30.0), 0, 400.0, SQUARE, source_id=7)
DOG = Object((0.0, 5.0, 20.0, 25.0), 1, 300.0, source_id="d")


def rle(first: int, last: int) -> dict[str, Any]:
    """The mask of columns `first` to `last`, without the last one."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, first:last] = 1
    counts = coco_mask.encode(np.asfortranarray(mask))["counts"]
    return {"size": [HEIGHT, WIDTH], "counts": counts.decode("ascii")}


class Crafted(NamedTuple):
    """A sample as it will stand in a shard."""

    record: Record
    image: EncodedImage
    pixels: PixelClasses | None = None


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """An image that looks like no other: soft blobs, (H, W, 3) uint8 RGB."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def png(pixels: np.ndarray) -> EncodedImage:
    return EncodedImage(encode_png(pixels), "png", *pixels.shape[:2])


def sample(key: str, seed: int, *objects: Object, **changes: Any) -> Crafted:
    """A sample with a picture of its own; `changes` are made to its record."""
    record = Record(key, HEIGHT, WIDTH, objects, file_name=f"{key}.png")
    return Crafted(replace(record, **changes), png(picture(seed)))


def clean_samples() -> list[Crafted]:
    """Three samples without a fault; two of them go into the first shard."""
    return [sample("a", 0, CAT, DOG), sample("b", 1), sample("c", 2, DOG)]


def write_set(
    folder: Path,
    samples: Sequence[Crafted],
    per_shard: int = 2,
    labels: LabelMap = ANIMALS,
    **changes: Any,
) -> Path:
    """Write samples as they are, with an index that fits; `changes` are made to the index."""
    folder.mkdir()
    shards, writers, shard_of = [], [], []
    for number, start in enumerate(range(0, len(samples), per_shard)):
        writer = ShardWriter(folder / f"shard-{number:06d}.tar")
        for one in samples[start : start + per_shard]:
            writer.add(*one)
            shard_of.append(number)
        shards.append(writer.close())
        writers.append(writer)
    rows = np.array([row for writer in writers for row in writer.rows])
    has_pixels = rows.shape[1] == 8
    index = ShardIndex(
        label_map=labels,
        shards=tuple(shards),
        keys=tuple(key for writer in writers for key in writer.keys),
        shard_of=np.array(shard_of),
        image=Member(rows[:, 0], rows[:, 1]),
        record=Member(rows[:, 2], rows[:, 3]),
        sizes=rows[:, 4:6],
        class_counts=tuple(counts for writer in writers for counts in writer.class_counts),
        report={},
        label=Member(rows[:, 6], rows[:, 7]) if has_pixels else None,
        pixel_counts=(
            tuple(counts for writer in writers for counts in writer.pixel_counts)
            if has_pixels
            else None
        ),
    )
    replace(index, **changes).write(folder)
    return folder


def rewrite_index(folder: Path, **changes: Any) -> None:
    """Change what the index of a set says."""
    replace(ShardIndex.read(folder), **changes).write(folder)


def findings(*folders: Path, workers: int = 0) -> list[tuple[str, str, str, str]]:
    """Kind, file, key and object of everything that is found."""
    return found_in(verify(folders, workers))


def found_in(report: Report) -> list[tuple[str, str, str, str]]:
    return [
        (one["kind"], one["file"], one["key"], one["object"])
        for one in report.findings.to_json()["findings"]
    ]
