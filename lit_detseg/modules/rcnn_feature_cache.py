"""pool5 features of every region of a training set, one file per image: the cache of R-CNN.

    FOLDER/index.json          what the features are of: weights, settings, precision, images
    FOLDER/<image id>.npy      one row per region: its box (4 float32) and its features

A file appears complete or not at all, and is read through a memory map, a few rows at a time. Boxes
are stored so that features are never taken for those of another box: proposals that have changed,
images of another size and mirrored ones are noticed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor

from lit_detseg.models.region_classifier import RegionClassifier
from lit_detseg.runs.directory import sync_path, write_atomically
from lit_detseg.structures import UserError

FORMAT = 1
INDEX = "index.json"
Precision = Literal["float16", "float32"]

# Parts of a detector that come behind the features.
LATER_PARTS = ("layers.", "class_logits.", "svms.", "box_regressors.")


class FeatureCache:
    """The files of a folder. `create` it to write, or `open` it, once it is finished, to read.

    Args:
        folder: where they are.
        num_pooled: numbers in the features of a region.
        precision: in which they are stored.
    """

    def __init__(self, folder: Path, num_pooled: int, precision: Precision) -> None:
        self.folder, self.precision = folder, precision
        kind = np.dtype(precision).newbyteorder("<")
        self._row = np.dtype([("box", "<f4", (4,)), ("pooled", kind, (num_pooled,))])

    @classmethod
    def create(cls, folder: Path, model: RegionClassifier, precision: Precision) -> "FeatureCache":
        """Begin a cache of a detector's features, or go on with one.

        Raises:
            UserError: when the folder holds other features, or cannot be written.
        """
        cache = cls(folder, model.num_pooled, precision)
        facts = {**feature_identity(model), "precision": precision}
        if (folder / INDEX).is_file():
            _require_same(folder, _read_index(folder), facts)
            return cache
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_index(folder, {**facts, "images": None})
        except OSError as error:
            raise UserError(
                f"Cannot write to {folder} ({error.strerror}). Give a `cache` that can be written."
            ) from error
        return cache

    @classmethod
    def open(cls, folder: str | Path, model: RegionClassifier) -> "FeatureCache":
        """A finished cache of the features of this very detector.

        Raises:
            UserError: when there is none, it is not finished, or other weights or settings made it.
        """
        folder = Path(folder)
        if not (folder / INDEX).is_file():
            raise UserError(
                f"There are no region features in {folder}. Run the RegionFeatures stage with this "
                "`cache` first, or leave `cache` out."
            )
        index = _read_index(folder)
        _require_same(folder, index, feature_identity(model))
        if index["images"] is None:
            raise UserError(
                f"The region features in {folder} are not complete: their RegionFeatures stage was "
                "stopped. Continue it with --ckpt_path last; what is there is kept."
            )
        return cls(folder, model.num_pooled, index["precision"])

    @property
    def row_bytes(self) -> int:
        """Bytes of one region."""
        return self._row.itemsize

    def path(self, image_id: str) -> Path:
        """Where the features of an image are."""
        return self.folder / f"{quote(image_id, safe='')}.npy"

    def stored_images(self) -> int:
        """How many images there are."""
        return sum(1 for _ in self.folder.glob("*.npy"))

    def write(self, image_id: str, regions: Tensor, pooled: Tensor) -> None:
        """Store the features of an image.

        Args:
            image_id: the shard key.
            regions: (R, 4) XYXY pixels of the resized image, as they will be asked for.
            pooled: (R, num_pooled).

        Raises:
            UserError: when a feature is too large for the precision.
        """
        rows = np.empty(len(regions), self._row)
        rows["box"] = regions.cpu().numpy()
        rows["pooled"] = pooled.float().cpu().to(getattr(torch, self.precision)).numpy()
        if not np.isfinite(rows["pooled"]).all():
            raise UserError(
                f"Features of image {image_id} are not finite in {self.precision} (largest: "
                f"{pooled.abs().max():.3g}). Store them with precision float32; if they are not "
                "finite there either, the weights are broken."
            )
        path = self.path(image_id)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                np.save(file, rows, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def holds(self, image_id: str, regions: Tensor) -> bool:
        """Whether the features of these regions of an image are there.

        Raises:
            UserError: when those of other regions are.
        """
        if not self.path(image_id).is_file():
            return False
        self._rows(image_id, regions)
        return True

    def read(self, image_id: str, regions: Tensor, places: Tensor | None = None) -> Tensor:
        """Features of an image, on the CPU, in the stored precision.

        Args:
            image_id: the shard key.
            regions: (R, 4) all regions of the image, to be compared with those stored.
            places: (P,) of which the features are wanted; not given: of all.

        Returns:
            (P, num_pooled).

        Raises:
            UserError: when the image is missing, or other regions of it were stored.
        """
        if not self.path(image_id).is_file():
            raise UserError(
                f"{self.folder} has no features of image {image_id}. Compute them for the training "
                "set that is read here."
            )
        pooled = self._rows(image_id, regions)["pooled"]
        chosen = slice(None) if places is None else places.cpu().numpy()
        return torch.from_numpy(np.array(pooled[chosen]))

    def require(self, images: int) -> None:
        """Find out whether all images of the training set are there.

        Raises:
            UserError: when some are missing.
        """
        stored = self.stored_images()
        if stored < images:
            raise UserError(
                f"{self.folder} has features of {stored} of {images} images. Run the stage over "
                "the whole training set: `data.tail: wrap`, no limit_train_batches."
            )

    def finish(self) -> None:
        """Say in the index that all images are there. To be called on rank zero."""
        for leftover in self.folder.glob(".*.tmp"):  # of an attempt that was killed
            leftover.unlink(missing_ok=True)
        index = _read_index(self.folder)
        _write_index(self.folder, {**index, "images": self.stored_images()})

    def _rows(self, image_id: str, regions: Tensor) -> np.ndarray:
        """The rows of a file, in a memory map.

        Raises:
            UserError: when they are not those of the regions.
        """
        path = self.path(image_id)
        try:
            rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UserError(
                f"{path} is damaged ({error}). Delete it, and compute it again."
            ) from error
        boxes = regions.cpu().numpy()
        if rows.dtype != self._row or not np.array_equal(rows["box"], boxes):
            raise UserError(
                f"{path} holds features of {len(rows)} regions, which are not the {len(boxes)} of "
                f"image {image_id} now: objects or proposals have changed, or images are resized "
                "or flipped differently. Use the data and transforms of the RegionFeatures stage, "
                "or another `cache`."
            )
        return rows


def feature_identity(model: RegionClassifier) -> dict[str, Any]:
    """What decides on the features of a region: plain types, as in JSON."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if not name.startswith(LATER_PARTS):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.cpu().reshape(-1).view(torch.uint8).numpy())
    return {
        "format": FORMAT,
        "weights": digest.hexdigest(),
        "detector": type(model).__name__,
        "settings": json.loads(json.dumps(model.feature_settings())),
    }


def _require_same(folder: Path, index: dict[str, Any], facts: dict[str, Any]) -> None:
    changed = [name for name, value in facts.items() if index.get(name) != value]
    if changed:
        words = ", ".join(
            f"{name} {str(index.get(name))[:60]} there and {str(facts[name])[:60]} here"
            for name in changed
        )
        raise UserError(
            f"{folder} holds region features of another detector: {words}. Start from the weights "
            "that made them, or give another `cache`."
        )


def _read_index(folder: Path) -> dict[str, Any]:
    return json.loads((folder / INDEX).read_text(encoding="utf-8"))


def _write_index(folder: Path, index: dict[str, Any]) -> None:
    write_atomically(folder / INDEX, json.dumps(index, indent=1) + "\n")
    sync_path(folder)
