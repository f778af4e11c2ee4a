"""The record of a sample: whether it is one, and whether its objects are possible."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from lit_detseg.data.packing.checks import (
    Fault,
    check_objects,
    is_finite_number,
    object_name,
    void_fault,
)
from lit_detseg.data.records import Object, RawSample
from lit_detseg.data.verification.findings import Kind, Problem
from lit_detseg.data.verification.masks import mask_problem
from lit_detseg.structures import LabelMap

ROUNDING = 1.0  # pixels by which each side of a box may be too short for the annotated area


class CheckedRecord(NamedTuple):
    """What is found in a record."""

    problems: list[Problem]
    objects: list[Object]  # that can be used
    labels: list[int] | None  # of all objects, for the counts of the index; None: cannot be told


def check_record(
    data: bytes, key: str, size: tuple[int, int] | None, classes: LabelMap
) -> CheckedRecord:
    """Check the record of a sample.

    Args:
        data: the JSON.
        key: of the sample.
        size: height and width of the decoded image, pixels; None where it cannot be decoded, and
            the record is believed.
        classes: the label map.
    """
    try:
        stored = json.loads(data)
        height, width = stored["height"], stored["width"]
        rows, image_id, void = stored["objects"], stored["image_id"], stored.get("void")
        if not isinstance(rows, list) or not all(type(side) is int for side in (height, width)):
            raise TypeError("height and width are not numbers, or objects is not a list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        detail = f"the record cannot be read ({type(error).__name__}: {error})"
        return CheckedRecord([Problem(Kind.UNREADABLE_ANNOTATION, detail)], [], None)
    problems = []
    if image_id != key:
        problems.append(Problem(Kind.WRONG_IMAGE_ID, f"the record is that of {image_id!r}"))
    if size not in (None, (height, width)):
        detail = f"the record says {(height, width)}, the image has {size} (height, width)"
        problems.append(Problem(Kind.WRONG_IMAGE_SIZE, detail))
    if fault := void_fault(void, "", height, width):
        problems.append(_problem(fault))
    read = [_read(row, place, classes) for place, row in enumerate(rows, start=1)]
    problems += [one for one in read if isinstance(one, Problem)]
    objects = [one for one in read if isinstance(one, Object)]
    labels: list[Any] = [row.get("label") if isinstance(row, dict) else None for row in rows]
    # An image of another size is one fault, not one for every box.
    usable = _check_objects(objects, key, height, width, classes, problems)
    return CheckedRecord(problems, usable, labels if all(map(_is_whole, labels)) else None)


def _read(row: Any, place: int, classes: LabelMap) -> Object | Problem:
    """An object whose parts have the right types, and a class."""
    if not isinstance(row, dict):
        return Problem(Kind.MALFORMED_OBJECT, f"not an object: {str(row)[:40]}", f"object #{place}")
    number = f"#{place}" if row.get("source_id") is None else row["source_id"]
    label: Any = row.get("label")
    box, area = row.get("box"), row.get("area")
    known = _is_whole(label) and 0 <= label < len(classes)
    name = object_name(number, classes.names[label] if known else "?")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return Problem(Kind.MALFORMED_OBJECT, f"box is {box!r}, not [x1, y1, x2, y2]", name)
    if not _is_number(area):
        return Problem(Kind.MALFORMED_OBJECT, f"area is {area!r}", name)
    if not _is_whole(label):
        return Problem(Kind.MALFORMED_OBJECT, f"label is {label!r}", name)
    if not known:
        detail = f"label {label} is not one of the {len(classes)} of the label map"
        return Problem(Kind.UNKNOWN_CLASS, detail, name)
    try:
        return replace(Object.from_json(row), source_id=number)
    except TypeError as error:
        return Problem(Kind.MALFORMED_OBJECT, str(error), name)


def _check_objects(
    objects: list[Object],
    key: str,
    height: int,
    width: int,
    classes: LabelMap,
    problems: list[Problem],
) -> list[Object]:
    """Add what is wrong with the objects to `problems`; those that can be used."""
    sample = RawSample(key, b"", height, width, tuple(objects))
    checked = check_objects(sample, classes, height, width, clip=False)
    problems += map(_problem, checked.faults)
    usable = []
    seen: dict[tuple[Any, ...], str] = {}
    for item in checked.objects:
        name = object_name(item.source_id, classes.names[item.label])
        found = [replace(one, object=name) for one in _object_problems(item, height, width)]
        if first := seen.get((item.label, item.box)):
            detail = f"{first} has the same class and box {_text(item.box)}"
            found.append(Problem(Kind.DUPLICATE_OBJECT, detail, name))
        seen.setdefault((item.label, item.box), name)
        problems += found
        if all(one.kind is not Kind.BAD_AREA for one in found):
            usable.append(item)
    return usable


def _object_problems(item: Object, height: int, width: int) -> Iterator[Problem]:
    x1, y1, x2, y2 = item.box
    if not math.isfinite(item.area) or item.area <= 0:
        yield Problem(Kind.BAD_AREA, f"the area is {item.area:g} pixels")
    elif item.area > (x2 - x1 + ROUNDING) * (y2 - y1 + ROUNDING):
        detail = f"the area is {item.area:g} pixels, that of box {_text(item.box)} is "
        yield Problem(Kind.AREA_LARGER_THAN_BOX, f"{detail}{(x2 - x1) * (y2 - y1):g}")
    if item.mask is None:
        return
    if item.is_crowd and isinstance(item.mask, list):
        yield Problem(Kind.CROWD_OF_POLYGONS, "a crowd's mask should be an RLE")
    if problem := mask_problem(item.mask, item.box, height, width):
        yield problem


def _problem(fault: Fault) -> Problem:
    """What packing finds, under the same name."""
    return Problem(Kind(fault.kind.value), fault.detail, fault.item)


def _is_whole(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    """Whether a JSON value is a number that a float can hold, finite or not."""
    return isinstance(value, float) or is_finite_number(value)


def _text(box: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
