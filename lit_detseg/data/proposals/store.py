"""Region proposals of a shard set, in a folder of their own beside the shards.

    SHARDS/proposals/NAME/
        proposals.json      the index: for which shards, by which method, how many on each image
        boxes-000000.npy    (P, 4) float32 XYXY, the images of the first shard one after the other
        cost.json           how long it took, where it was measured
        recall.png          how many objects they find, see `lit-detseg propose`

Boxes are in pixels of the original image and cover the area from x1 to x2; those of an image stand
with the most promising first. The index names the SHA-256 of the shards' index: when shards are
packed again, proposals for the old ones are refused.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.index import Shard
from lit_detseg.data.packing.work_folder import Contents
from lit_detseg.errors import UserError

FOLDER = "proposals"
INDEX_FILE = "proposals.json"
COST_FILE = "cost.json"
PLOT_FILE = "recall.png"
BOXES_FILE = "boxes-{:06d}.npy"
INDEX_FORMAT = 1
ROW_BYTES = 16  # four float32
OVERSHOOT = 1.0  # pixels beyond the border that a box may reach, by rounding
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # without a dot: those folders are unfinished

CONTENTS = Contents(
    files=("boxes-*.npy", COST_FILE, PLOT_FILE),
    noun="proposal",
    kind="folder of proposals",
    verb="computing",
    option="--name",
)


@dataclass(frozen=True)
class ProposalIndex:
    """Everything known about the proposals of a shard set."""

    shards_sha256: str  # of the index of the shards
    method: str
    options: dict[str, Any]  # of the method
    made_with: dict[str, str]  # libraries and their versions
    files: tuple[Shard, ...]  # one for each shard, in the same order
    counts: np.ndarray  # (S,) int64, boxes of each image, in stored order

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "format": INDEX_FORMAT,
            "shards_sha256": self.shards_sha256,
            "method": self.method,
            "options": self.options,
            "made_with": self.made_with,
            "files": [vars(file) for file in self.files],
            "counts": self.counts.tolist(),
        }

    def to_bytes(self) -> bytes:
        """The content of the file: the same index gives the same bytes."""
        return json.dumps(self.to_json(), separators=(",", ":"), ensure_ascii=False).encode()

    def sha256(self) -> str:
        """The identity of the proposals."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def parse(cls, data: bytes, where: str) -> "ProposalIndex":
        """Undo `to_bytes`.

        Args:
            data: content of the file.
            where: what to call it in messages.

        Raises:
            UserError: when it is damaged, or of another format.
        """
        try:
            stored = json.loads(data)
            if stored["format"] != INDEX_FORMAT:
                raise ValueError(f"it has format {stored['format']!r}, not {INDEX_FORMAT}")
            return cls._from_json(stored)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise UserError(
                f"{where} is not an index of proposals ({type(error).__name__}: {error}). Compute "
                "the proposals again: `lit-detseg propose SHARDS ... --overwrite`."
            ) from error

    @classmethod
    def read(cls, folder: Path) -> "ProposalIndex":
        """The index in a folder.

        Raises:
            UserError: when it cannot be read.
        """
        path = folder / INDEX_FILE
        try:
            return cls.parse(path.read_bytes(), str(path))
        except OSError as error:
            raise UserError(f"{path} cannot be read ({error.strerror}).") from error

    @classmethod
    def _from_json(cls, stored: Mapping[str, Any]) -> "ProposalIndex":
        index = cls(
            shards_sha256=stored["shards_sha256"],
            method=stored["method"],
            options=stored["options"],
            made_with=stored["made_with"],
            files=tuple(Shard(**file) for file in stored["files"]),
            counts=np.array(stored["counts"], dtype=np.int64).reshape(-1),
        )
        if len(index.counts) != sum(file.samples for file in index.files):
            raise ValueError(
                f"it counts boxes on {len(index.counts)} images, its files hold others"
            )
        header = np.array([file.bytes for file in index.files]) - ROW_BYTES * index.boxes_per_file()
        if (index.counts < 0).any() or (header <= 0).any():
            raise ValueError("it counts more boxes than its files have room for")
        return index

    def boxes_per_file(self) -> np.ndarray:
        """Rows of each file, (F,) int64."""
        samples = [file.samples for file in self.files]
        file_of = np.repeat(np.arange(len(samples)), samples)
        return np.bincount(file_of, weights=self.counts, minlength=len(samples)).astype(np.int64)

    def check_fits(self, shards_sha256: str, shard_lengths: tuple[int, ...], folder: str) -> None:
        """Find out whether these are the proposals of a shard set as it is now.

        Args:
            shards_sha256: of the index of the shards.
            shard_lengths: images of each shard.
            folder: of the proposals, for messages.

        Raises:
            UserError: when they are of other shards.
        """
        if self.shards_sha256 != shards_sha256:
            raise UserError(
                f"{folder} was computed for other shards (index {self.shards_sha256[:12]}..., now "
                f"{shards_sha256[:12]}...): the set was packed again. Compute the proposals again: "
                "`lit-detseg propose SHARDS ... --overwrite`."
            )
        if tuple(file.samples for file in self.files) != shard_lengths:
            raise UserError(
                f"{folder} has other numbers of images in its files than the shards have. "
                "Compute the proposals again: `lit-detseg propose SHARDS ... --overwrite`."
            )


def proposals_folder(shards: Path, name: str) -> Path:
    """Where proposals of a shard set lie, or will.

    Raises:
        UserError: when the name is none.
    """
    if not NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be a name of proposals: use letters, digits, `-` and `_`."
        )
    return shards / FOLDER / name


def proposal_names(shards: Path) -> list[str]:
    """The names of all finished proposals beside a shard set."""
    folders = (shards / FOLDER).glob(f"*/{INDEX_FILE}")
    return sorted(path.parent.name for path in folders if NAME.fullmatch(path.parent.name))


def what_is_wrong(boxes: np.ndarray, height: int, width: int) -> str | None:
    """Why boxes cannot be proposals of an image, or None when they can.

    Args:
        boxes: of any shape.
        height: pixels of the image.
        width: likewise.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        return f"they have shape {boxes.shape}, not (P, 4)"
    limits = np.array([width, height, width, height]) + OVERSHOOT
    bad = ~np.isfinite(boxes).all(axis=1) | (boxes < -OVERSHOOT).any(axis=1)
    bad |= (boxes > limits).any(axis=1) | (boxes[:, 2:] <= boxes[:, :2]).any(axis=1)
    if not bad.any():
        return None
    row = int(bad.argmax())
    return (
        f"box {row} of {len(boxes)} is {boxes[row].tolist()}, but x1 < x2 <= {width} and "
        f"y1 < y2 <= {height} are wanted"
    )
