"""Bad rows: what they are called, how they are found, what becomes of them.

A fault is one row of a raw data set that cannot be trained on. `pack` either stops and lists all
of them ("fail"), leaves them out ("drop"), or cuts boxes at the border and leaves out the rest
("clip"). Nothing is left out without being counted.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NamedTuple

from lit_detseg.data.records import Mask, Object, RawSample
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

ON_ERROR = ("fail", "drop", "clip")
OVERSHOOT = 1.0  # pixels past the border that count as rounding; COCO's boxes have them
LONGEST_KEY = 90  # bytes; with ".label.png", what the header of a ustar file holds


class Kind(StrEnum):
    """What is wrong with a row."""

    ZERO_SIZE_BOX = "zero_size_box"
    INVERTED_BOX = "inverted_box"
    NON_FINITE_BOX = "non_finite_box"
    BOX_OUTSIDE_IMAGE = "box_outside_image"
    MALFORMED_MASK = "malformed_mask"
    MALFORMED_OBJECT = "malformed_object"
    UNKNOWN_CLASS = "unknown_class"
    UNKNOWN_IMAGE = "unknown_image"
    UNREADABLE_IMAGE = "unreadable_image"
    WRONG_IMAGE_SIZE = "wrong_image_size"
    MISSING_ANNOTATION = "missing_annotation"
    UNREADABLE_ANNOTATION = "unreadable_annotation"
    DUPLICATE_OBJECT = "duplicate_object"
    MALFORMED_VOID = "malformed_void"
    UNREADABLE_LABELS = "unreadable_labels"
    WRONG_LABELS_SIZE = "wrong_labels_size"
    UNKNOWN_PIXEL_CLASS = "unknown_pixel_class"


# These leave nothing to trust on an image; the others cost one object.
WHOLE_IMAGE = {
    Kind.UNREADABLE_IMAGE,
    Kind.WRONG_IMAGE_SIZE,
    Kind.MISSING_ANNOTATION,
    Kind.UNREADABLE_ANNOTATION,
    Kind.MALFORMED_VOID,
    Kind.UNREADABLE_LABELS,
    Kind.WRONG_LABELS_SIZE,
    Kind.UNKNOWN_PIXEL_CLASS,
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One bad row."""

    kind: Kind
    file: str  # where to look
    detail: str  # the values
    item: str = ""  # which object in the file

    def __str__(self) -> str:
        where = f"{self.file}, {self.item}" if self.item else self.file
        return f"{where}: {self.kind.replace('_', ' ')}: {self.detail}"


class Checked(NamedTuple):
    """The objects of an image after the checks."""

    objects: tuple[Object, ...]
    faults: list[Fault]
    clipped: list[Fault]  # of the objects kept, those whose box was cut


def object_name(number: int | str | None, class_name: str) -> str:
    """How messages name an object.

    >>> object_name(3, "RBC")
    'object 3 (RBC)'
    """
    return f"object {number} ({class_name})"


def box_fault(box: Sequence[float]) -> tuple[Kind, str] | None:
    """What is wrong with an XYXY box in itself, with the values, or None.

    >>> box_fault([504, 337, 504, 337])
    (<Kind.ZERO_SIZE_BOX: 'zero_size_box'>, '504, 337, 504, 337')
    """
    x1, y1, x2, y2 = box
    detail = ", ".join(f"{value:g}" for value in box)
    if not all(math.isfinite(value) for value in box):
        return Kind.NON_FINITE_BOX, detail
    if x2 < x1 or y2 < y1:
        return Kind.INVERTED_BOX, detail
    if x2 == x1 or y2 == y1:
        return Kind.ZERO_SIZE_BOX, detail
    return None


def rle_fault(rle: Any) -> str | None:
    """Why `rle` is no run-length encoding of a mask of its own size, or None.

    Both of COCO's forms are understood: `counts` a list of run lengths, or their compressed text.
    """
    size = rle.get("size")
    if not (isinstance(size, list) and len(size) == 2 and all(_is_count(side) for side in size)):
        return f"its size is {size!r}, not [height, width]"
    counts = rle.get("counts")
    runs = _decompressed(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(_is_count(run) for run in runs):
        return "its counts are not run lengths"
    if sum(runs) != size[0] * size[1]:
        return f"its runs cover {sum(runs)} of {size[0]} x {size[1]} pixels"
    return None


def mask_fault(mask: Any, height: int, width: int) -> str | None:
    """Why `mask` is not a mask of an image of this size, or None."""
    if isinstance(mask, dict):
        reason = rle_fault(mask)
        if reason is None and mask["size"] != [height, width]:
            reason = f"its size is {mask['size']}, the image's is [{height}, {width}]"
        return reason
    if not isinstance(mask, list) or not mask:
        return f"neither polygons nor RLE: {str(mask)[:40]}"
    for polygon in mask:
        if not isinstance(polygon, list) or not all(is_finite_number(value) for value in polygon):
            return f"a polygon is not a list of numbers: {str(polygon)[:40]}"
        if len(polygon) < 6 or len(polygon) % 2:
            return f"a polygon has {len(polygon)} numbers, not 6, 8, 10..."
    return None


def is_finite_number(value: Any) -> bool:
    """Whether a parsed JSON value is a finite number (true and false are none)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check_objects(
    sample: RawSample, labels: LabelMap, height: int, width: int, clip: bool
) -> Checked:
    """Sort the objects of an image of this size into good, faulty and cut at the border."""
    kept: list[Object] = []
    faults: list[Fault] = []
    clipped: list[Fault] = []
    for item in sample.objects:
        found = (
            box_fault(item.box)
            or _mask_fault(item.mask, height, width)
            or _border_fault(item.box, height, width)
        )
        if found is None:
            kept.append(item)
            continue
        kind, detail = found
        name = object_name(item.source_id, labels.names[item.label])
        fault = Fault(kind, sample.file_name, detail, name)
        cut = _cut(item, height, width)
        if clip and kind is Kind.BOX_OUTSIDE_IMAGE and box_fault(cut.box) is None:
            kept.append(cut)
            clipped.append(fault)
        else:
            faults.append(fault)
    return Checked(tuple(kept), faults, clipped)


def shard_keys(names: Iterable[str]) -> dict[str, str]:
    """Shard key of each image name, sorted: what webdataset reads as a separator becomes "-".

    >>> shard_keys(["b.2", "a"])
    {'a': 'a', 'b-2': 'b.2'}

    Raises:
        UserError: when two images would get the same key, or one is too long for a tar file.
    """
    keys: dict[str, str] = {}
    for name in names:
        key = re.sub(r"[./\\\s]", "-", name)
        if key in keys:
            both = f"{name!r} stands twice" if keys[key] == name else f"{name!r} and {keys[key]!r}"
            raise UserError(
                f"Two images would have the shard key {key!r}: {both}. "
                "Each image is packed once, under a key without dots: rename or unlist one of them."
            )
        if len(key.encode()) > LONGEST_KEY:
            raise UserError(
                f"{name!r} is too long for a name in a tar file: {len(key.encode())} bytes, "
                f"at most {LONGEST_KEY}. Rename the image."
            )
        keys[key] = name
    return dict(sorted(keys.items()))


def void_fault(void: dict[str, Any] | None, file: str, height: int, width: int) -> Fault | None:
    """What is wrong with the pixels that count for nothing, or None."""
    if void is None:
        return None
    reason = mask_fault(void, height, width) if isinstance(void, dict) else "it is no RLE"
    return None if reason is None else Fault(Kind.MALFORMED_VOID, file, reason)


def _mask_fault(mask: Mask | None, height: int, width: int) -> tuple[Kind, str] | None:
    reason = None if mask is None else mask_fault(mask, height, width)
    return None if reason is None else (Kind.MALFORMED_MASK, reason)


def _border_fault(box: Sequence[float], height: int, width: int) -> tuple[Kind, str] | None:
    """A box that leaves the image by more than rounding, or has no part in it."""
    x1, y1, x2, y2 = box
    overshoot = max(-x1, -y1, x2 - width, y2 - height)
    apart = x1 >= width or y1 >= height or x2 <= 0 or y2 <= 0
    if overshoot <= OVERSHOOT and not apart:
        return None
    detail = ", ".join(f"{value:g}" for value in box)
    return Kind.BOX_OUTSIDE_IMAGE, f"{detail} in an image {width} wide, {height} high"


def _cut(item: Object, height: int, width: int) -> Object:
    """The object with its box cut at the border; its area can be no larger than the box."""
    x1, y1, x2, y2 = item.box
    x1, x2 = min(max(x1, 0.0), float(width)), min(max(x2, 0.0), float(width))
    y1, y2 = min(max(y1, 0.0), float(height)), min(max(y2, 0.0), float(height))
    return replace(item, box=(x1, y1, x2, y2), area=min(item.area, (x2 - x1) * (y2 - y1)))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _decompressed(counts: str) -> list[int]:
    """Run lengths of a compressed RLE; [-1] when the text is cut short.

    Each character carries 5 bits, lowest first, and bit 32 announces another; from the fourth run
    on, the difference to the run two before is stored (pycocotools, maskApi.c, rleFrString; it has
    no function that gives the runs, and its decoder is not made for wrong ones).
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return [-1]
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the sign of the last group
            value -= 1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
        value = shift = 0
    return [-1] if shift else runs
