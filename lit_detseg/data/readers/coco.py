"""COCO: a folder of images and one JSON of annotations (cocodataset.org, "data format").

Boxes are written XYWH. Masks stay as annotated: polygons, or RLE, whose uncompressed form (COCO's
crowds) becomes the compressed one.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lit_detseg.data.packing.checks import (
    Fault,
    Kind,
    is_finite_number,
    object_name,
    rle_fault,
    shard_keys,
)
from lit_detseg.data.records import Mask, Object, RawSample
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

Row = dict[str, Any]


class CocoReader:
    """The images of a COCO annotation file, in the order of their keys.

    Args:
        images: the folder that the file names in `annotations` start from.
        annotations: the JSON file.

    Raises:
        UserError: when the folder or file is missing, or the file is not in COCO's format.
    """

    def __init__(self, images: Path, annotations: Path) -> None:
        if not images.is_dir():
            raise UserError(f"There is no folder {images}. Give the folder of the images.")
        stored = _load(annotations)
        self.folder = images
        self.file = annotations.name
        self.title = f"COCO annotations {annotations}"
        self.source: Row = {"data_set": "coco", "annotations": annotations.name}
        self.label_map, self._labels = _label_map(stored["categories"], annotations)
        rows = _by_key(stored["images"], annotations)
        known = {row["id"] for row in rows.values()}
        self.rows = rows
        self.annotations: dict[Any, list[Row]] = {}
        faults = []
        for row in stored["annotations"]:
            image_id = row.get("image_id") if isinstance(row, dict) else None
            if isinstance(image_id, int | str | float) and image_id in known:
                self.annotations.setdefault(image_id, []).append(row)
            else:
                faults.append(self._orphan(row))
        self.faults = tuple(faults)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[RawSample, list[Fault]]]:
        for key, row in self.rows.items():
            yield self._read(key, row)

    def _read(self, key: str, row: Row) -> tuple[RawSample, list[Fault]]:
        items = [self._object(annotation) for annotation in self.annotations.get(row["id"], [])]
        objects = tuple(item for item in items if isinstance(item, Object))
        faults = [item for item in items if isinstance(item, Fault)]
        name = row["file_name"]
        sides = row.get("height"), row.get("width")
        size = sides if all(is_finite_number(side) for side in sides) else (None, None)
        sample = RawSample(key, self.folder / name, *size, objects, row["id"], name)
        return sample, faults

    def _object(self, row: Row) -> Object | Fault:
        """The object, or why it is none."""
        number, category, box = row.get("id"), row.get("category_id"), row.get("bbox")
        label = self._labels.get(category) if isinstance(category, int) else None
        name = "?" if label is None else self.label_map.names[label]
        item = object_name(number, name)
        if label is None:
            detail = f"category_id {category!r} is not in categories"
            return Fault(Kind.UNKNOWN_CLASS, self.file, detail, item)
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            detail = f"bbox is {box!r}, not [x, y, width, height]"
            return Fault(Kind.MALFORMED_OBJECT, self.file, detail, item)
        x, y, width, height = map(float, box)
        area = row.get("area", width * height)
        if not _is_number(area):
            return Fault(Kind.MALFORMED_OBJECT, self.file, f"area is {area!r}", item)
        return Object(
            box=(x, y, x + width, y + height),
            label=label,
            area=float(area),
            mask=_mask(row.get("segmentation")),
            is_crowd=bool(row.get("iscrowd", 0)),
            source_id=number,
        )

    def _orphan(self, row: Any) -> Fault:
        """A row of `annotations` that belongs to no image."""
        if not isinstance(row, dict):
            return Fault(Kind.MALFORMED_OBJECT, self.file, f"not an annotation: {str(row)[:40]}")
        detail = f"image_id {row.get('image_id')!r} is not in images"
        return Fault(Kind.UNKNOWN_IMAGE, self.file, detail, f"object {row.get('id')}")


def _load(path: Path) -> dict[str, list[Any]]:
    """The parsed file, with its three lists."""
    if not path.is_file():
        raise UserError(f"There is no annotation file {path}. Check --annotations.")
    try:
        stored = json.loads(path.read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid JSON: {error}. Copy or export it again.") from error
    found = sorted(stored) if isinstance(stored, dict) else f"a {type(stored).__name__}"
    for name in ("images", "annotations", "categories"):
        if not isinstance(stored, dict) or not isinstance(stored.get(name), list):
            raise UserError(
                f"{path} is not a COCO annotation file: it has no list {name!r} (found: {found}). "
                "Give a file like instances_train2017.json; results files cannot be packed."
            )
    return stored


def _label_map(categories: list[Any], path: Path) -> tuple[LabelMap, dict[int, int]]:
    """Categories in the order of their ids, and the label of each id."""
    for row in categories:
        if not isinstance(row, dict) or type(row.get("id")) is not int or not row.get("name"):
            raise UserError(f"{path} has a category without a number or name: {row!r}. Mend it.")
    names = {row["id"]: str(row["name"]) for row in categories}
    if len(names) != len(categories) or not names:
        twice = [number for number, n in Counter(row["id"] for row in categories).items() if n > 1]
        what = f"uses the category ids {twice} twice" if names else "has no categories"
        raise UserError(f"{path} {what}. Give every class one id of its own.")
    ids = tuple(sorted(names))
    label_map = LabelMap(tuple(names[number] for number in ids), ids)
    return label_map, {number: label for label, number in enumerate(ids)}


def _by_key(images: list[Any], path: Path) -> dict[str, Row]:
    """Rows of `images` by shard key, sorted."""
    by_name: dict[str, Row] = {}
    names = []
    for row in images:
        number = row.get("id") if isinstance(row, dict) else None
        if not isinstance(number, int | str) or not isinstance(row.get("file_name"), str):
            raise UserError(
                f"{path} has an image without id or file_name: {str(row)[:80]}. Mend it."
            )
        names.append(f"{number:012d}" if isinstance(number, int) else number)
        by_name[names[-1]] = row
    return {key: by_name[name] for key, name in shard_keys(names).items()}


def _mask(segmentation: Any) -> Mask | None:
    """The mask in canonical form; a malformed one stays as it is, for the checks to find."""
    if not segmentation:
        return None
    if isinstance(segmentation, dict) and rle_fault(segmentation) is None:
        return _compressed(segmentation)
    if isinstance(segmentation, list) and all(
        isinstance(polygon, list) for polygon in segmentation
    ):
        return [
            [float(value) if _is_number(value) else value for value in polygon]
            for polygon in segmentation
        ]
    return segmentation


def _compressed(rle: Row) -> Row:
    """`{"size", "counts"}` with `counts` as text."""
    if isinstance(rle["counts"], str):
        return {"size": rle["size"], "counts": rle["counts"]}
    from pycocotools import mask as coco_mask

    counts = coco_mask.frPyObjects(rle, *rle["size"])["counts"]
    return {"size": rle["size"], "counts": counts.decode("ascii")}


def _is_number(value: Any) -> bool:
    """Whether a JSON value is a number, finite or not: the checks tell the two apart."""
    return isinstance(value, int | float) and not isinstance(value, bool)
