"""Annotations that give every pixel a number: reading them, and the objects and maps in them."""

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from lit_detseg.data.packing.checks import Fault, Kind
from lit_detseg.data.packing.label_png import NO_CLASS
from lit_detseg.data.records import Object


class Annotated(NamedTuple):
    """What is annotated on one image, and the faults found on the way."""

    size: tuple[int, int] | tuple[None, None]  # height, width
    objects: tuple[Object, ...]
    faults: list[Fault]
    void: dict[str, Any] | None = None
    label_png: bytes | None = None


class Region(NamedTuple):
    """All pixels of one number."""

    box: tuple[float, float, float, float]  # XYXY, tight
    area: int  # pixels
    mask: dict[str, Any]  # compressed RLE


def without_image(kind: Kind, file: str, detail: str) -> Annotated:
    """The answer for an annotation of which nothing can be used."""
    return Annotated((None, None), (), [Fault(kind, file, detail)])


def open_png(path: Path) -> Image.Image:
    """A decoded picture, in the mode that the file has.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the bytes are no picture, or end too early.
    """
    data = path.read_bytes()
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except UnidentifiedImageError as error:
        raise ValueError("the bytes are not an image") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    return picture


def regions(numbers: np.ndarray, wanted: Collection[int]) -> dict[int, Region]:
    """The pixels of each wanted number that occurs, in rising order.

    Args:
        numbers: (H, W) integers.
        wanted: the numbers to look for.
    """
    from pycocotools import mask as coco_mask

    height, width = numbers.shape
    flat = numbers.ravel(order="F")  # RLE runs down the columns
    starts = np.append(0, np.flatnonzero(flat[1:] != flat[:-1]) + 1)
    bounds = np.stack([starts, np.append(starts[1:], flat.size)], axis=1)
    values = flat[starts]
    found = {}
    for value in sorted({*np.unique(values).tolist()} & {*wanted}):
        edges = bounds[values == value].ravel()
        if edges[-1] < flat.size:
            edges = np.append(edges, flat.size)
        runs = {"size": [height, width], "counts": np.diff(edges, prepend=0).tolist()}
        rle = coco_mask.frPyObjects(runs, height, width)
        x, y, box_width, box_height = coco_mask.toBbox(rle).tolist()
        found[value] = Region(
            box=(x, y, x + box_width, y + box_height),
            area=int(coco_mask.area(rle)),
            mask={"size": [height, width], "counts": rle["counts"].decode("ascii")},
        )
    return found


def void_mask(is_void: np.ndarray) -> dict[str, Any] | None:
    """(H, W) bool -> compressed RLE, None when no pixel is set."""
    region = regions(is_void.astype(np.uint8), {1}).get(1)
    return None if region is None else region.mask


def label_map_png(
    numbers: np.ndarray, labels: Mapping[int, int], file: str
) -> tuple[bytes, list[Fault]]:
    """The class of each pixel as an 8-bit grey PNG, and the numbers that no class has.

    Args:
        numbers: (H, W) uint8, as the data set numbers its classes.
        labels: entry of the label map by number, `NO_CLASS` for what counts for nothing.
        file: where the numbers come from, for messages.
    """
    table = np.full(256, NO_CLASS, np.uint8)
    table[list(labels)] = list(labels.values())
    buffer = io.BytesIO()
    Image.fromarray(table[numbers]).save(buffer, "PNG")
    counts = np.bincount(numbers.ravel(), minlength=256)
    unknown = [value for value in np.flatnonzero(counts).tolist() if value not in labels]
    return buffer.getvalue(), [unknown_value(file, value, counts[value]) for value in unknown]


def unknown_value(file: str, value: int, pixels: int) -> Fault:
    """Some pixels have a number of no class."""
    return Fault(Kind.UNKNOWN_PIXEL_CLASS, file, f"value {value} on {pixels} pixels")
