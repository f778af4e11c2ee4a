"""Shards to decoded samples, by number: which bytes of which file they are.

The index says where in which tar each file's bytes lie, so a sample is two `pread`s: nothing is
scanned, a sample anywhere costs the same, and workers share no file position.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lit_detseg.data.images import decode
from lit_detseg.data.index import Member, Shard, ShardIndex
from lit_detseg.data.records import Record
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.indexes import read_index
from lit_detseg.data.remote.open_files import OpenFiles
from lit_detseg.data.remote.urls import StoredFile, as_location, is_url, join, shown
from lit_detseg.structures import LabelMap, UserError

NOT_THERE = -1  # as size of a file that a sample of another set has


class ClassCounts(NamedTuple):
    """Objects of each class on each image: parallel arrays, without the zeros."""

    sample: np.ndarray  # (M,) int64, ascending
    label: np.ndarray  # (M,) int64
    objects: np.ndarray  # (M,) int64


class ShardReader:
    """Images and records of one or several shard sets, numbered through in stored order.

    Holds arrays, not a Python object per sample: what loader workers inherit stays shared memory.

    Args:
        folders: a shard set, or several that are read as one: folders, or URLs (`https://`,
            `http://`, `s3://`), whose shards are read through the cache.
        cache: for URLs; not given: the default one.
        cache_local: read folders (of a slow shared file system) through the cache too.

    Attributes:
        label_map: the classes, the same in all sets.
        keys: (S,) the samples' keys.
        shard_of: (S,) int64, number of the shard that each sample is in.
        shards: where each shard is, with its length and checksum.
        side_files: likewise, of files that hold records of whole sets.
        shard_lengths: samples per shard.
        sizes: (S, 2) height and width of each image.
        class_counts: which classes stand on each image, and how often.
        sha256: identity of each set.
        locations: folder or URL of each set.
        shards_per_set: how many of `shards` are of each set.
        cache: that remote files are read through.

    Raises:
        UserError: when a folder is not a shard set, the label maps differ or two sets share a key.
    """

    label_map: LabelMap

    def __init__(
        self,
        folders: str | Path | Sequence[str | Path],
        cache: ShardCache | None = None,
        cache_local: bool = False,
    ) -> None:
        folders = [folders] if isinstance(folders, (str, Path)) else folders
        locations = [as_location(folder, cache_local) for folder in folders]
        if not locations or len(set(locations)) < len(locations):
            raise UserError(f"Shard sets {list(folders)}: name at least one, and none twice.")
        if cache is None and any(map(is_url, locations)):
            cache = ShardCache()
        sets = {location: read_index(location, cache) for location in locations}
        indexes = {location: index for location, (index, _) in sets.items()}
        names = [shown(location) for location in indexes]
        self.label_map = agreed_label_map({shown(p): i.label_map for p, i in indexes.items()})
        self.sha256 = tuple(sha256 for _, sha256 in sets.values())
        self.locations = tuple(sets)
        self.shards_per_set = tuple(len(index.shards) for index in indexes.values())
        self.cache = cache
        self.keys = np.concatenate([np.asarray(i.keys, np.str_) for i in indexes.values()])
        _check_unique(self.keys, names)
        self.shards = tuple(_stored(p, shard) for p, i in indexes.items() for shard in i.shards)
        self.side_files = tuple(_stored(p, i.records) for p, i in indexes.items() if i.records)
        self._files = self.shards + self.side_files
        self.shard_lengths = tuple(shard.samples for shard in self.shards)
        self.shard_of = np.repeat(np.arange(len(self.shards)), self.shard_lengths)
        _check_counts(len(self.shard_of), len(self.keys), names)
        self.sizes = np.concatenate([i.sizes for i in indexes.values()])
        self.class_counts = _class_counts(list(indexes.values()))
        self._image = _extents([i.image for i in indexes.values()])
        self._record = _extents([i.record for i in indexes.values()])
        self._label = _extents([i.label or _none(len(i)) for i in indexes.values()])
        self._record_file = self._files_of_records(list(indexes.values()))
        self._open_files = OpenFiles(cache)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def has_labels(self) -> bool:
        """Whether each sample has a class for each of its pixels."""
        return bool((self._label[:, 1] != NOT_THERE).all())

    def record(self, sample: int, masks: bool = True) -> Record:
        """What is annotated on an image; without the masks, if they are not wanted.

        Raises:
            UserError: when the shard does not hold what the index says.
        """
        file = self._files[self._record_file[sample]]
        data = self._bytes(sample, file, self._record)
        if not data:  # a tar made by others, without annotations
            height, width = self.sizes[sample].tolist()
            return Record(str(self.keys[sample]), height, width, objects=())
        with self._blame(sample, file, "the record", (ValueError, KeyError, TypeError)):
            record = Record.from_json(json.loads(data), masks)
            if record.image_id != self.keys[sample]:
                raise ValueError(f"the record is that of {record.image_id!r}")
        return record

    def image(self, sample: int) -> np.ndarray:
        """The decoded image, (H, W, 3) uint8 RGB.

        Raises:
            UserError: when the shard does not hold what the index says.
        """
        data = self.image_bytes(sample)
        with self._blame(sample, self._shard(sample), "the image", (ValueError, OSError)):
            return decode(data)

    def image_bytes(self, sample: int) -> bytes:
        """The image file as packed."""
        return self._bytes(sample, self._shard(sample), self._image)

    def label(self, sample: int) -> np.ndarray:
        """The class of each pixel, (H, W) uint8: entry of the label map, 255 where there is none.

        Raises:
            UserError: when the set has none, or the shard does not hold what the index says.
        """
        if self._label[sample, 1] == NOT_THERE:
            raise UserError(
                f"{self._where(sample, self._shard(sample))} has no class for each pixel. Use a "
                "set for semantic segmentation, packed with its label maps."
            )
        data = self._bytes(sample, self._shard(sample), self._label)
        with self._blame(sample, self._shard(sample), "the label map", (ValueError,)):
            return _decode_label(data, tuple(self.sizes[sample].tolist()))

    def read(self, sample: int, masks: bool = True) -> tuple[np.ndarray, Record]:
        """Image and record of a sample, which agree about the image's size."""
        image, record = self.image(sample), self.record(sample, masks)
        if image.shape[:2] != (record.height, record.width):
            raise UserError(
                f"{self._where(sample, self._shard(sample))}: the image has {image.shape[0]} x "
                f"{image.shape[1]} pixels, its record says {record.height} x {record.width}. "
                "Pack the data set again."
            )
        return image, record

    def remote_bytes(self, shards: int) -> int:
        """What is fetched at most for any `shards` shards that are read in turns."""
        sizes = sorted(shard.bytes for shard in self.shards if shard.is_remote)
        side_files = sum(file.bytes for file in self.side_files if file.is_remote)
        return side_files + sum(sizes[-shards:])

    def _shard(self, sample: int) -> StoredFile:
        return self.shards[self.shard_of[sample]]

    def _files_of_records(self, indexes: Sequence[ShardIndex]) -> np.ndarray:
        """Number within `_files` of the file that each sample's record is in, (S,) int64."""
        numbers, first, side_file = [], 0, len(self.shards)
        for index in indexes:
            if index.records is None:
                numbers.append(self.shard_of[first : first + len(index)])
            else:
                numbers.append(np.full(len(index), side_file))
                side_file += 1
            first += len(index)
        return np.concatenate(numbers)

    def _bytes(self, sample: int, file: StoredFile, extents: np.ndarray) -> bytes:
        offset, size = extents[sample].tolist()
        return self._open_files.read(file, offset, size) if size else b""

    def _where(self, sample: int, file: StoredFile) -> str:
        return f"{file}, sample {self.keys[sample]}"

    @contextmanager
    def _blame(
        self, sample: int, file: StoredFile, what: str, errors: tuple[type[Exception], ...]
    ) -> Iterator[None]:
        try:
            yield
        except errors as error:
            raise UserError(
                f"{self._where(sample, file)}: {what} cannot be read ({type(error).__name__}: "
                f"{error}). The shard was damaged after packing: copy it again, or pack the data "
                "set again."
            ) from error


def agreed_label_map(label_maps: dict[str, LabelMap]) -> LabelMap:
    """The one label map of several shard sets.

    Args:
        label_maps: by the name under which a set is known to the user.

    Raises:
        UserError: when two sets number different classes.
    """
    (first_name, first), *others = label_maps.items()
    for name, other in others:
        if gap := first.difference(other):
            raise UserError(
                f"{first_name} and {name} have different classes: {gap}. "
                "Pack both with the same label map."
            )
    return first


def _stored(location: str, shard: Shard) -> StoredFile:
    return StoredFile(join(location, shard.name), shard.bytes, shard.sha256, shard.samples)


def _none(samples: int) -> Member:
    """In place of files that a set does not have."""
    return Member(np.zeros(samples, np.int64), np.full(samples, NOT_THERE))


def _decode_label(data: bytes, size: tuple[int, ...]) -> np.ndarray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if pixels is None:
        raise ValueError("the bytes are truncated, corrupt or not an image")
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError("it is not an 8-bit grey image")
    if pixels.shape != size:
        raise ValueError(f"it has {pixels.shape} pixels, its image {size}")
    return pixels


def _class_counts(indexes: Sequence[ShardIndex]) -> ClassCounts:
    per_sample = [counts for index in indexes for counts in index.class_counts]
    rows = [(s, label, n) for s, counts in enumerate(per_sample) for label, n in counts.items()]
    return ClassCounts(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)


def _extents(members: Sequence[Member]) -> np.ndarray:
    """Offset and size of each sample's file within its tar, (S, 2) int64."""
    return np.concatenate([np.stack([m.offset, m.size], axis=1) for m in members])


def _check_unique(keys: np.ndarray, folders: Sequence[str]) -> None:
    names, counts = np.unique(keys, return_counts=True)
    if twice := names[counts > 1].tolist():
        raise UserError(
            f"{len(twice)} keys stand twice in {', '.join(folders)}, for example "
            f"{twice[0]}: images are counted by their key. Give each set once, or pack again with "
            "keys that differ."
        )


def _check_counts(by_shard: int, keys: int, folders: Sequence[str]) -> None:
    if by_shard != keys:
        raise UserError(
            f"The index of {', '.join(folders)} counts {by_shard} samples "
            f"by shard, but {keys} keys. Pack the data set again."
        )
