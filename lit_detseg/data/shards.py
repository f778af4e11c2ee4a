"""Shards to decoded samples, by number: the only file that opens a tar to read it.

The index says where in which tar each file's bytes lie, so a sample is two `pread`s: nothing is
scanned, a sample anywhere costs the same, and workers share no file position.
"""

import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lit_detseg.data.images import decode
from lit_detseg.data.index import ShardIndex, index_sha256
from lit_detseg.data.records import Record
from lit_detseg.structures import LabelMap, UserError

MAX_OPEN_SHARDS = 64  # per process: a worker wanders over a window, not over the whole set


class ClassCounts(NamedTuple):
    """Objects of each class on each image: parallel arrays, without the zeros."""

    sample: np.ndarray  # (M,) int64, ascending
    label: np.ndarray  # (M,) int64
    count: np.ndarray  # (M,) int64


class ShardReader:
    """Images and records of one or several shard sets, numbered through in stored order.

    Holds arrays, not a Python object per sample: what loader workers inherit stays shared memory.

    Args:
        folders: a shard set, or several that are read as one.

    Attributes:
        label_map: the classes, the same in all sets.
        keys: (S,) the samples' keys.
        shard_lengths: samples per shard.
        sizes: (S, 2) height and width of each image.
        class_counts: which classes stand on each image, and how often.
        sha256: identity of each set.

    Raises:
        UserError: when a folder is not a shard set, the label maps differ or two sets share a key.
    """

    label_map: LabelMap

    def __init__(self, folders: str | Path | Sequence[str | Path]) -> None:
        folders = [folders] if isinstance(folders, (str, Path)) else folders
        if not folders or len({Path(folder) for folder in folders}) < len(folders):
            raise UserError(f"Shard sets {list(folders)}: name at least one, and none twice.")
        indexes = {Path(folder): ShardIndex.read(Path(folder)) for folder in folders}
        self.label_map = agreed_label_map({str(p): i.label_map for p, i in indexes.items()})
        self.sha256 = tuple(index_sha256(path) for path in indexes)
        self.keys = np.concatenate([np.asarray(i.keys, np.str_) for i in indexes.values()])
        _check_unique(self.keys, list(indexes))
        shards = [(path / shard.name, shard) for path, i in indexes.items() for shard in i.shards]
        self.shard_lengths = tuple(shard.samples for _, shard in shards)
        self._shard_paths = [str(path) for path, _ in shards]
        self._shard_bytes = [shard.bytes for _, shard in shards]
        self._shard_of = np.repeat(np.arange(len(shards)), self.shard_lengths)
        if len(self._shard_of) != len(self.keys):
            raise UserError(
                f"The index of {', '.join(map(str, indexes))} counts {len(self._shard_of)} samples "
                f"by shard, but {len(self.keys)} keys. Pack the data set again."
            )
        self.sizes = np.concatenate([i.sizes for i in indexes.values()])
        self.class_counts = _class_counts(list(indexes.values()))
        self._image = _extents([i.image for i in indexes.values()])
        self._record = _extents([i.record for i in indexes.values()])
        self._open_files = _OpenFiles()

    def __len__(self) -> int:
        return len(self.keys)

    def record(self, sample: int, masks: bool = True) -> Record:
        """What is annotated on an image; without the masks, if they are not wanted.

        Raises:
            UserError: when the shard does not hold what the index says.
        """
        data = self._bytes(sample, self._record)
        with self._blame(sample, "the record", (ValueError, KeyError, TypeError)):
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
        with self._blame(sample, "the image", (ValueError, OSError)):
            return decode(data)

    def image_bytes(self, sample: int) -> bytes:
        """The image file as packed."""
        return self._bytes(sample, self._image)

    def read(self, sample: int, masks: bool = True) -> tuple[np.ndarray, Record]:
        """Image and record of a sample, which agree about the image's size."""
        image, record = self.image(sample), self.record(sample, masks)
        if image.shape[:2] != (record.height, record.width):
            raise UserError(
                f"{self._where(sample)}: the image has {image.shape[0]} x {image.shape[1]} pixels, "
                f"its record says {record.height} x {record.width}. Pack the data set again."
            )
        return image, record

    def _bytes(self, sample: int, extents: np.ndarray) -> bytes:
        shard = self._shard_of[sample]
        offset, size = extents[sample].tolist()
        path, expected = self._shard_paths[shard], self._shard_bytes[shard]
        data = os.pread(self._open_files.descriptor(path, expected), size, offset)
        if len(data) < size:  # cut while it was open
            raise _wrong_length(path, len(data) + offset, expected)
        return data

    def _where(self, sample: int) -> str:
        return f"{self._shard_paths[self._shard_of[sample]]}, sample {self.keys[sample]}"

    @contextmanager
    def _blame(self, sample: int, what: str, errors: tuple[type[Exception], ...]) -> Iterator[None]:
        try:
            yield
        except errors as error:
            raise UserError(
                f"{self._where(sample)}: {what} cannot be read ({type(error).__name__}: {error}). "
                "The shard was damaged after packing: copy it again, or pack the data set again."
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


class _OpenFiles:
    """File descriptors by path, opened when first asked for, each process its own."""

    def __init__(self) -> None:
        self._start()

    def descriptor(self, path: str, expected_bytes: int) -> int:
        """An open descriptor of a file that has the expected length."""
        if self._process != os.getpid():  # forked: the parent's descriptors stay the parent's
            self._start()
        if path in self._descriptors:
            self._descriptors.move_to_end(path)
            return self._descriptors[path]
        if len(self._descriptors) >= MAX_OPEN_SHARDS:
            os.close(self._descriptors.popitem(last=False)[1])
        self._descriptors[path] = descriptor = _open(path, expected_bytes)
        return descriptor

    def _start(self) -> None:
        self._descriptors: OrderedDict[str, int] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._start()

    def __del__(self) -> None:
        if self._process == os.getpid():
            for descriptor in self._descriptors.values():
                os.close(descriptor)


def _open(path: str, expected_bytes: int) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError(
            f"{path} cannot be opened ({error.strerror}), but the index names it. "
            "Copy the whole folder again, or pack the data set again."
        ) from error
    found = os.fstat(descriptor).st_size
    if found != expected_bytes:
        os.close(descriptor)
        raise _wrong_length(path, found, expected_bytes)
    return descriptor


def _wrong_length(path: str, found: int, expected: int) -> UserError:
    return UserError(
        f"{path} has {found} bytes, the index says {expected}. "
        "The copy is incomplete or from another packing: copy the folder again, or pack again."
    )


def _class_counts(indexes: Sequence[ShardIndex]) -> ClassCounts:
    per_sample = [counts for index in indexes for counts in index.class_counts]
    rows = [(s, label, n) for s, counts in enumerate(per_sample) for label, n in counts.items()]
    return ClassCounts(*np.array(rows, dtype=np.int64).reshape(-1, 3).T)


def _extents(members: Sequence[Any]) -> np.ndarray:
    """Offset and size of each sample's file within its tar, (S, 2) int64."""
    return np.concatenate([np.stack([m.offset, m.size], axis=1) for m in members])


def _check_unique(keys: np.ndarray, folders: Sequence[Path]) -> None:
    names, counts = np.unique(keys, return_counts=True)
    if twice := names[counts > 1].tolist():
        raise UserError(
            f"{len(twice)} keys stand twice in {', '.join(map(str, folders))}, for example "
            f"{twice[0]}: images are counted by their key. Give each set once, or pack again with "
            "keys that differ."
        )
