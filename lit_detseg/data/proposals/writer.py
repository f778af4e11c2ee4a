"""Proposals to files beside the shards, wherever they come from."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.index import Shard, ShardIndex, index_sha256
from lit_detseg.data.packing.work_folder import WorkFolder, work_folder
from lit_detseg.data.proposals.store import (
    BOXES_FILE,
    CONTENTS,
    COST_FILE,
    INDEX_FILE,
    ProposalIndex,
    proposals_folder,
    what_is_wrong,
)
from lit_detseg.errors import UserError
from lit_detseg.runs.directory import sync_path, write_atomically


def write_proposals(
    shards: Path,
    name: str,
    boxes: Iterable[np.ndarray],
    method: str,
    options: Mapping[str, Any],
    overwrite: bool = False,
) -> ProposalIndex:
    """Store proposals of one's own, of a trained region proposal network for example.

    Nothing is seen under the name before everything is on the disk.

    Args:
        shards: folder of the shard set.
        name: by which `data.proposals` finds them.
        boxes: for each image of the set in stored order (that of `ShardReader.keys`) an array
            (P, 4) XYXY in pixels of the original image, the best box first. Taken one at a time.
        method: what made them, for the index.
        options: of the method, likewise; as JSON can hold them.
        overwrite: whether older proposals of this name are replaced.

    Raises:
        UserError: when the name is taken, there are more or fewer arrays than images, or a box is
            outside its image or has no area.
    """
    place = proposals_folder(shards, name)
    with work_folder(place, INDEX_FILE, overwrite, CONTENTS) as folder:
        return publish_proposals(folder, shards, boxes, method, options, {})


def publish_proposals(
    folder: WorkFolder,
    shards: Path,
    boxes: Iterable[np.ndarray],
    method: str,
    options: Mapping[str, Any],
    made_with: Mapping[str, str],
) -> ProposalIndex:
    """Write files and index into an unfinished folder, and give it its name.

    Args:
        folder: of the proposals.
        shards: folder of the shard set.
        boxes: as in `write_proposals`, like the others.
        method: likewise.
        options: likewise.
        made_with: libraries and their versions.
    """
    index = ShardIndex.read(shards)
    writer = _Writer(folder.shards, index)
    for of_image in boxes:
        writer.add(of_image)
    files, counts = writer.close()
    written = ProposalIndex(
        index_sha256(shards), method, dict(options), dict(made_with), files, counts
    )
    folder.keep_only({COST_FILE, *(file.name for file in files)})
    write_atomically(folder.shards / INDEX_FILE, written.to_bytes())
    folder.publish()
    return written


class _Writer:
    """Boxes of one image after the other; a file whenever a shard is full."""

    def __init__(self, folder: Path, index: ShardIndex) -> None:
        self.folder, self.index = folder, index
        self.counts: list[int] = []
        self.files: list[Shard] = []
        self.waiting: list[np.ndarray] = []
        self._finish_files()

    def add(self, boxes: np.ndarray) -> None:
        """Take the boxes of the next image."""
        number = len(self.counts)
        if number == len(self.index):
            raise UserError(f"There are boxes for more than the {number} images of the shards.")
        height, width = self.index.sizes[number].tolist()
        rows = np.asarray(boxes, dtype="<f4")
        if wrong := what_is_wrong(rows, height, width):
            raise UserError(f"The proposals of image {self.index.keys[number]}: {wrong}.")
        self.waiting.append(rows)
        self.counts.append(len(rows))
        self._finish_files()

    def close(self) -> tuple[tuple[Shard, ...], np.ndarray]:
        """The files, and the number of boxes of each image, (S,) int64."""
        if len(self.counts) < len(self.index):
            raise UserError(
                f"There are boxes for {len(self.counts)} images, the shards have "
                f"{len(self.index)}: give an array for each, of no rows where there is no box."
            )
        return tuple(self.files), np.array(self.counts, dtype=np.int64)

    def _finish_files(self) -> None:
        lengths = self.index.shard_lengths
        while len(self.files) < len(lengths) and len(self.waiting) == lengths[len(self.files)]:
            rows = np.concatenate([np.zeros((0, 4), "<f4"), *self.waiting])
            path = self.folder / BOXES_FILE.format(len(self.files))
            np.save(path, rows)
            sync_path(path)
            data = path.read_bytes()
            sha256 = hashlib.sha256(data).hexdigest()
            self.files.append(Shard(path.name, len(self.waiting), len(data), sha256))
            self.waiting = []
