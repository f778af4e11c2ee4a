"""COCO's annotation and results files as rows that can be judged.

Forms: https://cocodataset.org/#format-data and https://cocodataset.org/#format-results.
"""

import json
import math
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np

from lit_detseg.errors import UserError
from lit_detseg.metrics.pairs import Found, Truth
from lit_detseg.metrics.run_lengths import mask_areas

Shape = Literal["bbox", "segm"]


class CocoFiles(NamedTuple):
    """An annotation file and a results file that belong together."""

    found: Found
    truth: Truth
    num_images: int  # all of the annotation file, with and without objects or detections
    class_names: tuple[str, ...]  # in the order of the category ids


def read_coco(annotations: Path, results: Path, shape: Shape = "bbox") -> CocoFiles:
    """Read both files; images and classes are numbered in the order of their ids.

    Args:
        annotations: a file like instances_val2017.json.
        results: a list of detections.
        shape: what to compare. The area of a detection is that of this shape, even where the file
            has the other one as well (pycocotools then takes the box's).

    Raises:
        UserError: naming the file, the entry and the value, when something cannot be read.
    """
    stored = _parsed(annotations)
    if not isinstance(stored, dict):
        raise UserError(
            f"{annotations} holds {_kind(stored)}, not an object with images, annotations and "
            "categories. Were --annotations and --results swapped?"
        )
    images, objects, categories = (
        _Entries(annotations, name, stored.get(name))
        for name in ("images", "annotations", "categories")
    )
    detections = _Entries(results, "", _parsed(results))
    image_numbers, labels = images.numbered("id"), categories.numbered("id")
    names = dict(zip(categories.column("id"), categories.column("name"), strict=True))
    _refuse_repeated_names(annotations, categories)
    sizes = _image_sizes(images) if shape == "segm" else {}
    return CocoFiles(
        _found(detections, image_numbers, labels, shape),
        _truth(objects, image_numbers, labels, shape, sizes),
        len(image_numbers),
        tuple(str(names[category]) for category in labels),
    )


class _Entries:
    """A list of JSON objects, and the words to complain about one of them."""

    def __init__(self, path: Path, name: str, entries: Any) -> None:
        self.path, self.name = path, name
        if not isinstance(entries, list):
            where = f"{name!r} of {path}" if name else str(path)
            raise UserError(f"{where} is {_kind(entries)}, not a list.")
        self.entries = entries
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self.complain(number, f"is {_kind(entry)}, not an object")

    def complain(self, number: int, what: str) -> NoReturn:
        where = f"{self.name}[{number}]" if self.name else f"entry {number} (counted from 0)"
        raise UserError(f"{self.path}: {where} {what}.")

    def column(self, key: str) -> list[Any]:
        """The values of a key that every entry must have."""
        for number, entry in enumerate(self.entries):
            if key not in entry:
                keys = ", ".join(map(str, entry)) or "none"
                self.complain(number, f"has no {key!r}; its keys are {keys}")
        return [entry[key] for entry in self.entries]

    def numbers(self, key: str) -> np.ndarray:
        """(E,) float64: a finite number per entry."""
        values = self.column(key)
        for number, value in enumerate(values):
            if not _is_number(value):
                self.complain(number, f"has {key} = {value!r}, which is not a finite number")
        return np.array(values, dtype=np.float64)

    def boxes(self) -> np.ndarray:
        """(E, 4) float64: XYWH."""
        values = self.column("bbox")
        for number, value in enumerate(values):
            if not (isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))):
                self.complain(number, f"has bbox = {value!r}, not four numbers x, y, width, height")
        return np.array(values, dtype=np.float64).reshape(-1, 4)

    def numbered(self, key: str) -> dict[Hashable, int]:
        """The different values of a key, numbered in their order."""
        try:
            return {value: number for number, value in enumerate(sorted(set(self.column(key))))}
        except TypeError as error:
            raise UserError(
                f"{self.path}: the {key}s of {self.name} cannot be put in order ({error}). "
                "Use whole numbers, or text, for all of them."
            ) from error

    def looked_up(self, key: str, numbers: dict[Hashable, int], what: str) -> np.ndarray:
        """(E,) int64: the number of each entry's value."""
        values = self.column(key)
        for number, value in enumerate(values):
            if not isinstance(value, Hashable) or value not in numbers:
                self.complain(number, f"has {key} = {value!r}, which is not among the {what}")
        return np.array([numbers[value] for value in values], dtype=np.int64)


def _found(
    detections: _Entries,
    image_numbers: dict[Hashable, int],
    labels: dict[Hashable, int],
    shape: Shape,
) -> Found:
    image = detections.looked_up("image_id", image_numbers, "images of the annotations")
    label = detections.looked_up("category_id", labels, "categories of the annotations")
    score = detections.numbers("score")
    if shape == "bbox":
        boxes = detections.boxes()
        return Found(image, label, score, boxes, boxes[:, 2] * boxes[:, 3])
    masks = _masks(detections, sizes=None)
    return Found(image, label, score, masks, mask_areas(masks))


def _truth(
    objects: _Entries,
    image_numbers: dict[Hashable, int],
    labels: dict[Hashable, int],
    shape: Shape,
    sizes: dict[Hashable, tuple[int, int]],
) -> Truth:
    return Truth(
        image=objects.looked_up("image_id", image_numbers, "images"),
        label=objects.looked_up("category_id", labels, "categories"),
        shape=objects.boxes() if shape == "bbox" else _masks(objects, sizes),
        area=objects.numbers("area"),
        is_crowd=np.array([bool(entry.get("iscrowd")) for entry in objects.entries], dtype=bool),
        is_difficult=np.zeros(len(objects.entries), dtype=bool),
    )


def _masks(entries: _Entries, sizes: dict[Hashable, tuple[int, int]] | None) -> np.ndarray:
    """(E,) object: compressed RLE of polygons or of RLE; without `sizes` of RLE alone."""
    from pycocotools import mask

    masks = np.empty(len(entries.entries), dtype=object)
    for number, segmentation in enumerate(entries.column("segmentation")):
        is_polygons = isinstance(segmentation, list)
        try:
            if is_polygons and sizes is not None:
                size = sizes[entries.entries[number]["image_id"]]
                masks[number] = mask.merge(mask.frPyObjects(segmentation, *size))
            elif isinstance(segmentation["counts"], list):
                masks[number] = mask.frPyObjects(segmentation, *segmentation["size"])
            else:
                masks[number] = segmentation
                mask.area(segmentation)
        except (TypeError, KeyError, ValueError, IndexError, AttributeError) as error:
            forms = "an RLE" if sizes is None else "polygons or an RLE"
            entries.complain(number, f"has a segmentation that is not {forms} ({error!r})")
    return masks


def _image_sizes(images: _Entries) -> dict[Hashable, tuple[int, int]]:
    sizes = zip(images.numbers("height"), images.numbers("width"), strict=True)
    return {
        image_id: (int(height), int(width))
        for image_id, (height, width) in zip(images.column("id"), sizes, strict=True)
    }


def _refuse_repeated_names(path: Path, categories: _Entries) -> None:
    for key in ("id", "name"):
        values = categories.column(key)
        repeated = sorted({str(value) for value in values if values.count(value) > 1})
        if repeated:
            raise UserError(
                f"{path}: two categories have the {key} {', '.join(repeated)}. Rename one of them."
            )


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        what = "is empty" if path.stat().st_size == 0 else f"is not JSON ({error})"
        raise UserError(f"{path} {what}.") from error


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _kind(value: Any) -> str:
    """What a JSON value is, in words."""
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "missing"}
    return kinds.get(type(value), "a number")
