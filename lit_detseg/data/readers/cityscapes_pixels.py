"""Cityscapes' instance ids: read from a PNG, or drawn from polygons as Cityscapes draws them.

An instance id says class and instance of a pixel: class x 1000 + instance, or the class alone where
nothing tells instances apart (stuff, groups of things).
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from lit_detseg.data.packing.checks import Fault, Kind, object_name
from lit_detseg.data.readers.cityscapes_labels import BY_ID, BY_NAME, GROUP
from lit_detseg.data.readers.pixel_maps import open_png, unknown_value

UNLABELED = BY_NAME["unlabeled"].id


class InstanceIds(NamedTuple):
    """The instance id of every pixel, and what was wrong; wrong pixels are unlabeled."""

    numbers: np.ndarray  # (H, W) int32
    faults: list[Fault]


def class_of(number: int) -> int:
    """Label id of an instance id."""
    return number if number < 1000 else number // 1000


def read_instance_ids(path: Path, file: str) -> InstanceIds:
    """Instance ids of a `*_gtFine_instanceIds.png`.

    Args:
        path: where it is.
        file: its name for messages.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no 16-bit grey picture.
    """
    picture = open_png(path)
    if not picture.mode.startswith("I"):
        raise ValueError(f"a picture of mode {picture.mode}, not of 16-bit grey: no instance ids")
    numbers = np.array(picture, dtype=np.int32)
    faults = []
    for value in np.unique(numbers).tolist():
        if class_of(value) not in BY_ID:
            is_wrong = numbers == value
            faults.append(unknown_value(file, value, int(is_wrong.sum())))
            numbers[is_wrong] = UNLABELED
    return InstanceIds(numbers, faults)


def draw_instance_ids(path: Path, file: str) -> InstanceIds:
    """Instance ids from the polygons of a `*_gtFine_polygons.json`.

    As cityscapesScripts' `json2instanceImg` draws them: in the order of the file, later polygons
    over earlier ones, with PIL's rule of which pixels lie inside. Deleted objects are not there;
    licence plates are not drawn, so that the car below stays whole; instances of a class are
    numbered from 0 as they come, also those of which nothing remains visible.

    Args:
        path: where it is.
        file: its name for messages.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no JSON of Cityscapes' form.
    """
    height, width, objects = _parsed(path)
    canvas = Image.new("I", (width, height), UNLABELED)
    drawer = ImageDraw.Draw(canvas)
    instances = dict.fromkeys(BY_NAME, 0)
    faults = []
    for place, item in enumerate(objects):
        polygon = _polygon(item)
        name = str(item.get("label")) if isinstance(item, dict) else "?"
        label = BY_NAME.get(name, BY_NAME.get(name.removesuffix(GROUP)))
        if isinstance(item, dict) and item.get("deleted"):
            continue
        if polygon is None:
            detail = f"not a polygon of points [x, y]: {str(item)[:60]}"
            faults.append(Fault(Kind.MALFORMED_OBJECT, file, detail, object_name(place, name)))
            continue
        if label is None:
            detail = f"{name!r} is no class of Cityscapes"
            faults.append(Fault(Kind.UNKNOWN_CLASS, file, detail, object_name(place, name)))
            number = UNLABELED
        elif label.has_instances and name == label.name:
            number = label.id * 1000 + instances[name]
            instances[name] += 1
        else:
            number = label.id
        if number >= 0:
            drawer.polygon(polygon, fill=number)
    return InstanceIds(np.array(canvas, dtype=np.int32), faults)


def _parsed(path: Path) -> tuple[int, int, list[Any]]:
    """Height, width and objects."""
    stored = json.loads(path.read_bytes())
    if not isinstance(stored, dict):
        raise ValueError(f"a JSON {type(stored).__name__}, not an object")
    sides = [stored.get(name) for name in ("imgHeight", "imgWidth")]
    if not all(type(side) is int and 0 < side < 2**16 for side in sides):
        raise ValueError(f"imgHeight and imgWidth are {sides}")
    if not isinstance(stored.get("objects"), list):
        raise ValueError("it has no list of objects")
    return stored["imgHeight"], stored["imgWidth"], stored["objects"]


def _polygon(item: Any) -> list[tuple[float, float]] | None:
    """The points of an object, or None where they are none. Two points draw a line."""
    points = item.get("polygon") if isinstance(item, dict) else None
    if not isinstance(points, list) or len(points) < 2:
        return None
    for point in points:
        if not (isinstance(point, list) and len(point) == 2 and all(map(_is_number, point))):
            return None
    return [(x, y) for x, y in points]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
