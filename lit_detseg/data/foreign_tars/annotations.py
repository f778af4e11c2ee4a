"""Annotations in the JSON files of tars made by others, in the forms that are common.

    our own record    {"image_id", "height", "width", "objects": [{"box", "label", ...}, ...]}
    COCO's rows       {"annotations": [row, ...]} or [row, ...], each row with `bbox` (XYWH) and
                      `category_id`, `category` or `category_name`, and perhaps `segmentation`,
                      `area`, `iscrowd`, `id`
    two lists         {"boxes": [[x1, y1, x2, y2], ...], "labels": [...]}, and perhaps `area`,
                      `iscrowd`

The latter two may have `height`, `width` and `file_name`. Classes are numbers or names.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from lit_detseg.data.foreign_tars.classes import Classes
from lit_detseg.data.packing.checks import Fault, Kind, is_finite_number, object_name
from lit_detseg.data.readers.coco_masks import canonical_mask
from lit_detseg.data.records import Mask, Object, RawSample

Row = dict[str, Any]
CATEGORY_FIELDS = ("category_name", "category", "category_id")


class Item(NamedTuple):
    """An annotated object whose class is still as the file calls it."""

    category: Any
    is_label: bool  # of our own record: an entry of the label map, not a number of the data set
    number: int | str  # for messages
    make: Callable[[int], Object]  # given the label; raises ValueError or TypeError, saying why


class Annotation(NamedTuple):
    """A JSON file."""

    stored: Row
    items: list[Item]
    is_record: bool  # in our own form


def parse(data: bytes) -> Annotation:
    """Read a JSON file in one of the known forms.

    Raises:
        ValueError: when it is in none of them.
    """
    stored = json.loads(data)
    if isinstance(stored, list):
        stored = {"annotations": stored}
    if isinstance(stored, dict) and isinstance(stored.get("objects"), list):
        return Annotation(stored, list(_items(stored["objects"], _from_record)), True)
    if isinstance(stored, dict) and isinstance(stored.get("annotations"), list):
        return Annotation(stored, list(_items(stored["annotations"], _from_coco)), False)
    if isinstance(stored, dict) and isinstance(stored.get("boxes"), list):
        return Annotation(stored, list(_items(_rows_of_lists(stored), _from_lists)), False)
    found = f"an object with {sorted(stored)}" if isinstance(stored, dict) else str(stored)[:40]
    raise ValueError(
        f"no annotation in a form that is understood (objects, annotations, or boxes and labels), "
        f"but {found[:200]}"
    )


def categories(annotation: Annotation) -> Iterator[int | str]:
    """What the classes are called, where they are called at all."""
    return (item.category for item in annotation.items if _is_category(item.category))


def to_sample(
    annotation: Annotation | None, key: str, image: bytes, file: str, classes: Classes
) -> tuple[RawSample, list[Fault]]:
    """A sample as packing takes it, with the faults of the rows that are no objects.

    Args:
        annotation: None where there is none.
        key: of the sample.
        image: the encoded image.
        file: where the sample is, for messages.
        classes: what the class names and numbers mean.
    """
    if annotation is None:
        return RawSample(key, image, None, None, (), file_name=file), []
    objects, faults = [], []
    for item in annotation.items:
        name = object_name(item.number, str(item.category))
        label = _label(item, classes)
        if label is None:
            detail = f"class {item.category!r} is not one of {len(classes.label_map)} known ones"
            faults.append(Fault(Kind.UNKNOWN_CLASS, file, detail, name))
            continue
        try:
            objects.append(item.make(label))
        except (ValueError, TypeError) as error:
            faults.append(Fault(Kind.MALFORMED_OBJECT, file, str(error), name))
    stored = annotation.stored
    sides = stored.get("height"), stored.get("width")
    height, width = sides if all(type(side) is int for side in sides) else (None, None)
    sample = RawSample(
        key,
        image,
        height,
        width,
        tuple(objects),
        stored.get("source_id") if annotation.is_record else stored.get("image_id"),
        file_name=file,
        void=stored.get("void") if annotation.is_record else None,
    )
    return sample, faults


def _label(item: Item, classes: Classes) -> int | None:
    if not _is_category(item.category):
        return None
    if item.is_label:
        known = isinstance(item.category, int) and 0 <= item.category < len(classes.label_map)
        return item.category if known else None
    return classes.labels.get(item.category)


def _items(rows: list[Any], read: Callable[[Row, int | str], Item]) -> Iterator[Item]:
    for place, row in enumerate(rows, start=1):
        if isinstance(row, dict):
            number = row.get("source_id", row.get("id"))
            yield read(row, f"#{place}" if number is None else number)
        else:
            yield Item(None, False, f"#{place}", _nothing)


def _from_record(row: Row, number: int | str) -> Item:
    def make(label: int) -> Object:
        _corners(row.get("box"), "box is {}, not [x1, y1, x2, y2]")
        if not _is_number(row.get("area")):
            raise ValueError(f"area is {row.get('area')!r}")
        return Object.from_json(row)

    return Item(row.get("label"), True, number, make)


def _from_coco(row: Row, number: int | str) -> Item:
    def make(label: int) -> Object:
        x, y, width, height = _corners(row.get("bbox"), "bbox is {}, not [x, y, width, height]")
        mask = canonical_mask(row.get("segmentation"))
        return _object(row, (x, y, x + width, y + height), label, mask, number)

    category = next((row[name] for name in CATEGORY_FIELDS if name in row), None)
    return Item(category, False, number, make)


def _from_lists(row: Row, number: int | str) -> Item:
    def make(label: int) -> Object:
        box = _corners(row["box"], "box is {}, not [x1, y1, x2, y2]")
        return _object(row, box, label, None, number)

    return Item(row["label"], False, number, make)


def _rows_of_lists(stored: Row) -> list[Row]:
    """One row an object, from lists of equal length."""
    names = {"boxes": "box", "labels": "label", "area": "area", "iscrowd": "iscrowd"}
    lists = {single: stored[plural] for plural, single in names.items() if plural in stored}
    lengths = {name: len(values) for name, values in lists.items() if isinstance(values, list)}
    if "label" not in lists or len(lengths) < len(lists) or len(set(lengths.values())) > 1:
        raise ValueError(f"boxes, labels and the others are not lists of equal length: {lengths}")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def _object(
    row: Row,
    box: tuple[float, float, float, float],
    label: int,
    mask: Mask | None,
    number: int | str,
) -> Object:
    area = row.get("area", (box[2] - box[0]) * (box[3] - box[1]))
    if not _is_number(area):
        raise ValueError(f"area is {area!r}")
    return Object(
        box=box,
        label=label,
        area=float(area),
        mask=mask,
        is_crowd=bool(row.get("iscrowd", 0)),
        source_id=row.get("id", number),
    )


def _corners(box: Any, complaint: str) -> tuple[float, float, float, float]:
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise ValueError(complaint.format(repr(box)))
    first, second, third, fourth = map(float, box)
    return first, second, third, fourth


def _nothing(label: int) -> Object:
    raise ValueError("the row is not an object with names")


def _is_category(value: Any) -> bool:
    return isinstance(value, str) or type(value) is int


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or is_finite_number(value)
