"""The proposals of the images that a `ShardReader` reads, under the same numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lit_detseg.data.proposals.methods import propose_command
from lit_detseg.data.proposals.store import (
    FOLDER,
    INDEX_FILE,
    ROW_BYTES,
    ProposalIndex,
    proposal_names,
    proposals_folder,
    what_is_wrong,
)
from lit_detseg.data.remote.cache import ShardCache
from lit_detseg.data.remote.indexes import fetch_index
from lit_detseg.data.remote.open_files import OpenFiles
from lit_detseg.data.remote.urls import StoredFile, is_url, join, shown
from lit_detseg.data.shards import ShardReader
from lit_detseg.errors import UserError


class ProposalReader:
    """Boxes of one or several shard sets, each from beside its own shards.

    Args:
        reader: of the sets; remote ones are read through its cache.
        name: of the proposals, the same for each set.
        max_proposals: the first so many of each image are used; not given: all.

    Attributes:
        counts: (S,) int64, boxes of each image that are used.
        files: where the boxes of each shard are, with length and checksum.
        sha256: of the index of each set's proposals.

    Raises:
        UserError: when a set has no such proposals, or they are of other shards.
    """

    def __init__(self, reader: ShardReader, name: str, max_proposals: int | None = None) -> None:
        if max_proposals is not None and max_proposals < 1:
            raise UserError(f"max_proposals = {max_proposals} must be at least 1, or left out.")
        indexes = list(_indexes(reader, name))
        self.sha256 = tuple(index.sha256() for _, index in indexes)
        self.keys, self.sizes, self._file_of = reader.keys, reader.sizes, reader.shard_of
        self.files = tuple(
            StoredFile(join(folder, file.name), file.bytes, file.sha256, file.samples)
            for folder, index in indexes
            for file in index.files
        )
        stored = np.concatenate([index.counts for _, index in indexes])
        # Of each file the boxes come last, those of the last image at its very end.
        ends = np.cumsum(stored)
        rows = np.concatenate([index.boxes_per_file() for _, index in indexes])
        behind = np.cumsum(rows)[self._file_of] - (ends - stored)
        lengths = np.array([file.bytes for file in self.files])
        self._offsets = lengths[self._file_of] - ROW_BYTES * behind
        self.counts = stored if max_proposals is None else np.minimum(stored, max_proposals)
        self._open_files = OpenFiles(reader.cache)

    def boxes(self, sample: int) -> np.ndarray:
        """The boxes of an image, (P, 4) float32 XYXY, pixels of the original, the best first.

        Raises:
            UserError: naming the file, when it does not hold what the index says.
        """
        count, file = int(self.counts[sample]), self.files[self._file_of[sample]]
        if not count:
            return np.zeros((0, 4), np.float32)
        data = self._open_files.read(file, int(self._offsets[sample]), ROW_BYTES * count)
        boxes = np.frombuffer(data, dtype="<f4").reshape(-1, 4)
        if wrong := what_is_wrong(boxes, *self.sizes[sample].tolist()):
            raise UserError(
                f"{file}, image {self.keys[sample]}: {wrong}. The file was damaged: copy it again, "
                "or compute the proposals again with --overwrite."
            )
        return boxes

    def remote_bytes(self, shards: int) -> int:
        """What is fetched at most for any `shards` shards that are read in turns."""
        sizes = sorted(file.bytes for file in self.files if file.is_remote)
        return sum(sizes[-shards:])


def _indexes(reader: ShardReader, name: str) -> Iterator[tuple[str, ProposalIndex]]:
    """The folder and the index of each set's proposals."""
    first = 0
    sets = zip(reader.locations, reader.sha256, reader.shards_per_set, strict=True)
    for location, sha256, shards in sets:
        folder = join(location, f"{FOLDER}/{name}")
        index = _read_index(location, name, reader.cache)
        lengths = reader.shard_lengths[first : first + shards]
        index.check_fits(sha256, lengths, shown(folder))
        yield folder, index
        first += shards


def _read_index(location: str, name: str, cache: ShardCache | None) -> ProposalIndex:
    shards = shown(location)
    compute = f"`{propose_command(shards, name)}`"
    folder = proposals_folder(Path(location), name)  # checks the name too
    if not is_url(location):
        if not (folder / INDEX_FILE).is_file():
            there = ", ".join(proposal_names(Path(location))) or "none"
            raise UserError(
                f"There are no proposals {name!r} beside {shards} (there: {there}). Compute them "
                f"with {compute}, or name others."
            )
        return ProposalIndex.read(folder)

    def none_there(reason: str) -> str:
        return (
            f"There are no proposals {name!r} beside {shards} that can be read: for their "
            f"{INDEX_FILE}, {reason}. Compute them with {compute} where the shards are a folder, "
            f"and upload its {FOLDER}/{name} too."
        )

    url = join(location, f"{FOLDER}/{name}/{INDEX_FILE}")
    file, _ = fetch_index(url, cache, none_there)
    return ProposalIndex.parse(file.read_bytes(), shown(url))
