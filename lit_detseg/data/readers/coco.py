"""COCO: a folder of images and one JSON of annotations (cocodataset.org, "data format").

Boxes are written XYWH. Masks stay as annotated: polygons, or RLE, whose uncompressed form (COCO's
crowds) becomes the compressed one.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lit_detseg.data.packing.checks import Fault, Kind, is_finite_number, object_name
from lit_detseg.data.readers.coco_file import CocoFile
from lit_detseg.data.readers.coco_masks import canonical_mask, is_number
from lit_detseg.data.records import Object, RawSample
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

Row = dict[str, Any]


class CocoReader:
    """The images of a COCO annotation file, in the order of their keys.

    Holds the places of the rows, not the rows: they are parsed again when their image is read.

    Args:
        images: the folder that the file names in `annotations` start from.
        annotations: the JSON file.

    Raises:
        UserError: when the folder or file is missing, or the file is not in COCO's format.
    """

    def __init__(self, images: Path, annotations: Path) -> None:
        if not images.is_dir():
            raise UserError(f"There is no folder {images}. Give the folder of the images.")
        self.folder = images
        self.file = annotations.name
        self.title = f"COCO annotations {annotations}"
        self._stored = CocoFile(annotations)
        self.keys: Sequence[str] = self._stored.keys
        self.source: Row = {
            "data_set": "coco",
            "annotations": annotations.name,
            "annotations_sha256": self._stored.sha256,
        }
        self.label_map, self._labels = _label_map(self._stored.categories, annotations)
        self.faults = tuple(self._orphan(row) for row in self._stored.orphans())

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, rank: int) -> tuple[RawSample, list[Fault]]:
        """One image, with what is wrong with its annotations."""
        row, annotations = self._stored.read(rank)
        items = [
            self._repeated(one) if repeated else self._object(one)
            for one, repeated in zip(annotations, _are_repeated(annotations), strict=True)
        ]
        objects = tuple(item for item in items if isinstance(item, Object))
        faults = [item for item in items if isinstance(item, Fault)]
        name = row["file_name"]
        sides = row.get("height"), row.get("width")
        size = sides if all(is_finite_number(side) for side in sides) else (None, None)
        key = self.keys[rank]
        return RawSample(key, self.folder / name, *size, objects, row["id"], name), faults

    def _object(self, row: Row) -> Object | Fault:
        """The object, or why it is none."""
        number, category, box = row.get("id"), row.get("category_id"), row.get("bbox")
        label, item = self._label(row), self._name(row)
        if label is None:
            detail = f"category_id {category!r} is not in categories"
            return Fault(Kind.UNKNOWN_CLASS, self.file, detail, item)
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            detail = f"bbox is {box!r}, not [x, y, width, height]"
            return Fault(Kind.MALFORMED_OBJECT, self.file, detail, item)
        x, y, width, height = map(float, box)
        area = row.get("area", width * height)
        if not is_number(area):
            return Fault(Kind.MALFORMED_OBJECT, self.file, f"area is {area!r}", item)
        return Object(
            box=(x, y, x + width, y + height),
            label=label,
            area=float(area),
            mask=canonical_mask(row.get("segmentation")),
            is_crowd=bool(row.get("iscrowd", 0)),
            source_id=number,
        )

    def _label(self, row: Row) -> int | None:
        category = row.get("category_id")
        return self._labels.get(category) if isinstance(category, int) else None

    def _name(self, row: Row) -> str:
        label = self._label(row)
        return object_name(row.get("id"), "?" if label is None else self.label_map.names[label])

    def _repeated(self, row: Row) -> Fault:
        """An annotation that was there before: it would count as two objects."""
        detail = "it stands in annotations before, the same in everything"
        return Fault(Kind.DUPLICATE_OBJECT, self.file, detail, self._name(row))

    def _orphan(self, row: Any) -> Fault:
        """A row of `annotations` that belongs to no image."""
        if not isinstance(row, dict):
            return Fault(Kind.MALFORMED_OBJECT, self.file, f"not an annotation: {str(row)[:40]}")
        detail = f"image_id {row.get('image_id')!r} is not in images"
        return Fault(Kind.UNKNOWN_IMAGE, self.file, detail, f"object {row.get('id')}")


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


def _are_repeated(annotations: list[Row]) -> list[bool]:
    """Whether an annotation of an image is another one once more: same id, and equal in the rest.

    An id that different annotations share is harmless: ids only name objects in messages.
    """
    before: dict[str, list[Row]] = {}
    found = []
    for row in annotations:
        same_id = before.setdefault(repr(row.get("id")), [])
        found.append(row.get("id") is not None and row in same_id)
        same_id.append(row)
    return found
