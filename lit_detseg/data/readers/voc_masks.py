"""VOC's segmentations: SegmentationClass and SegmentationObject, PNGs whose palette is the data.

A pixel's palette index is its class (0 background, 1 aeroplane, ...) or its instance; 255 is the
border between objects, and whatever the annotators left open: void. Instances keep the pixels that
they have, without the border.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lit_detseg.data.packing.checks import Fault, Kind, object_name
from lit_detseg.data.packing.label_png import NO_CLASS
from lit_detseg.data.readers.pixel_maps import (
    Annotated,
    Region,
    label_map_png,
    open_png,
    regions,
    void_mask,
    without_image,
)
from lit_detseg.data.records import Object

VOID = 255
INSTANCES, CLASSES = "SegmentationObject", "SegmentationClass"

# Colour of each index, (256, 3): its bits, lowest first, go to red, green, blue, red, ... from the
# highest bit of each down.
VOC_PALETTE = np.zeros((256, 3), np.uint8)
for _bit in range(8):
    VOC_PALETTE[:, _bit % 3] |= ((np.arange(256) >> _bit & 1) << (7 - _bit // 3)).astype(np.uint8)


def instances(
    root: Path, stem: str, names: Sequence[str], annotated: Sequence[Object | Fault]
) -> Annotated:
    """The instances of an image, with the flags that its XML file gives them.

    Instance k is the k-th object of the XML file when that has the same class and more than half
    of the instance's pixels in its box. VOC is annotated so; where a data set is not, an instance
    has no flags, and that is no fault.

    Args:
        root: folder of the data set.
        stem: name of the image.
        names: of the classes from 1 on; label = value - 1.
        annotated: objects of the XML file in its order.
    """
    try:
        file = f"{INSTANCES}/{stem}.png"
        numbers = read_indices(root / file)
        file = f"{CLASSES}/{stem}.png"
        classes = read_indices(root / file)
    except FileNotFoundError:
        return without_image(Kind.MISSING_ANNOTATION, file, "no such file")
    except ValueError as error:
        return without_image(Kind.UNREADABLE_ANNOTATION, file, str(error))
    if numbers.shape != classes.shape:
        detail = f"{numbers.shape} (height, width) in {INSTANCES}, {classes.shape} in {CLASSES}"
        return without_image(Kind.WRONG_IMAGE_SIZE, f"{stem}.png", detail)
    found = regions(numbers, range(1, VOID))
    items = [
        _object(number, region, classes[numbers == number], names, f"{INSTANCES}/{stem}.png")
        for number, region in found.items()
    ]
    flagged = [
        _with_flags(item, numbers, annotated) if isinstance(item, Object) else item
        for item in items
    ]
    return Annotated(
        size=(numbers.shape[0], numbers.shape[1]),
        objects=tuple(item for item in flagged if isinstance(item, Object)),
        faults=[item for item in flagged if isinstance(item, Fault)],
        void=void_mask((numbers == VOID) | ((classes == VOID) & (numbers == 0))),
    )


def semantic(root: Path, stem: str, num_classes: int) -> Annotated:
    """The class of each pixel of an image.

    Args:
        root: folder of the data set.
        stem: name of the image.
        num_classes: with the background, which is entry 0.
    """
    file = f"{CLASSES}/{stem}.png"
    try:
        classes = read_indices(root / file)
    except FileNotFoundError:
        return without_image(Kind.MISSING_ANNOTATION, file, "no such file")
    except ValueError as error:
        return without_image(Kind.UNREADABLE_ANNOTATION, file, str(error))
    labels = {value: value for value in range(num_classes)} | {VOID: NO_CLASS}
    png, faults = label_map_png(classes, labels, file)
    return Annotated((classes.shape[0], classes.shape[1]), (), faults, label_png=png)


def read_indices(path: Path) -> np.ndarray:
    """(H, W) uint8: palette indices, grey values, or what VOC's palette has for a colour.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is no picture, of another kind, or has other colours.
    """
    picture = open_png(path)
    if picture.mode in ("P", "L"):
        return np.asarray(picture)
    if picture.mode in ("RGB", "RGBA"):
        return _indices_of_colors(np.asarray(picture.convert("RGB")).astype(np.int64))
    raise ValueError(
        f"a picture of mode {picture.mode}, not of palette indices (P), grey (L) or VOC's colours"
    )


def _indices_of_colors(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) colours of VOC's palette -> (H, W) uint8 indices."""
    weights = np.array([1 << 16, 1 << 8, 1])
    index_of = {code: index for index, code in enumerate((VOC_PALETTE @ weights).tolist())}
    codes, place, counts = np.unique(pixels @ weights, return_inverse=True, return_counts=True)
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        if code not in index_of:
            color = (code >> 16, code >> 8 & 255, code & 255)
            raise ValueError(f"{count} pixels have the colour {color}, not one of VOC's palette")
    indices = np.array([index_of[code] for code in codes.tolist()], np.uint8)
    return indices[place].reshape(pixels.shape[:2])


def _object(
    number: int, region: Region, classes: np.ndarray, names: Sequence[str], file: str
) -> Object | Fault:
    """The object of one instance, whose pixels must be of one class (or void)."""
    values, counts = np.unique(classes[classes != VOID], return_counts=True)
    found = ", ".join(f"{n} of class {v}" for v, n in zip(values, counts, strict=True))
    if len(values) != 1 or values[0] == 0:
        name = object_name(number, "?")
        detail = f"of its {region.area} pixels {found or 'none'} in {CLASSES}, not all of one class"
        return Fault(Kind.MALFORMED_OBJECT, file, detail, name)
    label = int(values[0]) - 1
    if label >= len(names):
        detail = f"class {label + 1} in {CLASSES} is none of 1 to {len(names)}"
        return Fault(Kind.UNKNOWN_CLASS, file, detail, object_name(number, "?"))
    return Object(region.box, label, float(region.area), region.mask, source_id=number)


def _with_flags(item: Object, numbers: np.ndarray, annotated: Sequence[Object | Fault]) -> Object:
    """The object, difficult and truncated as its XML object is, if it has one."""
    number = item.source_id
    assert isinstance(number, int)
    other = annotated[number - 1] if number <= len(annotated) else None
    if not isinstance(other, Object) or other.label != item.label:
        return item
    x1, y1, x2, y2 = (max(round(side), 0) for side in other.box)
    if 2 * np.count_nonzero(numbers[y1:y2, x1:x2] == number) <= item.area:
        return item
    return replace(item, is_difficult=other.is_difficult, is_truncated=other.is_truncated)
