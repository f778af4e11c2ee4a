"""Whether the mask and the box of an object are those of one object."""

from collections.abc import Sequence

import numpy as np

from lit_detseg.data.records import Mask
from lit_detseg.data.verification.findings import Kind, Problem

# The box around a mask may differ from the annotated one by this much on each side. COCO's own
# differ by up to 1 pixel, those of crowds, whose box ends at the last pixel, not behind it.
LOOSE_PIXELS = 2.0
LOOSE_FRACTION = 0.05  # of the longer side of the box: hand-drawn boxes of large objects
APART_IOU = 0.5  # below it, and beyond the above, mask and box are not those of one object

Box = tuple[float, float, float, float]


def mask_problem(mask: Mask, box: Sequence[float], height: int, width: int) -> Problem | None:
    """What is wrong between a well-formed mask and its well-formed XYXY box.

    Args:
        mask: polygons or compressed RLE, of an image of this size.
        box: as annotated.
        height: of the image, pixels.
        width: likewise.
    """
    if isinstance(mask, dict):
        around = _around_rle(mask)
        if around is None:
            return Problem(Kind.EMPTY_MASK, "the mask has no pixel")
    else:
        if not any(_area(polygon) for polygon in mask):
            return Problem(Kind.FLAT_POLYGON, "the polygons enclose nothing")
        around = _around_polygons(mask)
    around, box = (_inside(one, height, width) for one in (around, box))
    gap = max(abs(mine - theirs) for mine, theirs in zip(around, box, strict=True))
    slack = max(LOOSE_PIXELS, LOOSE_FRACTION * max(box[2] - box[0], box[3] - box[1]))
    if gap <= slack:
        return None
    detail = f"the mask reaches {_text(around)}, its box is {_text(box)}: {gap:.1f} pixels apart"
    kind = Kind.LOOSE_BOX if _iou(around, box) >= APART_IOU else Kind.MASK_APART_FROM_BOX
    return Problem(kind, detail)


def _around_rle(rle: dict) -> Box | None:
    """The box around a mask's pixels; None without any."""
    from pycocotools import mask as coco_mask

    if not coco_mask.area(rle):
        return None
    x, y, width, height = coco_mask.toBbox(rle).tolist()
    return x, y, x + width, y + height


def _around_polygons(polygons: list[list[float]]) -> Box:
    x = [value for polygon in polygons for value in polygon[0::2]]
    y = [value for polygon in polygons for value in polygon[1::2]]
    return min(x), min(y), max(x), max(y)


def _area(polygon: list[float]) -> float:
    """Of a closed line, by the shoelace formula; 0 when all its points lie on a line."""
    x, y = np.array(polygon).reshape(-1, 2).T
    x, y = x - x[0], y - y[0]
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def _inside(box: Sequence[float], height: int, width: int) -> Box:
    x1, y1, x2, y2 = box
    x1, x2 = (min(max(value, 0.0), float(width)) for value in (x1, x2))
    y1, y2 = (min(max(value, 0.0), float(height)) for value in (y1, y2))
    return x1, y1, x2, y2


def _iou(one: Box, other: Box) -> float:
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    common = max(right - left, 0.0) * max(bottom - top, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common) if sum(areas) > common else 0.0


def _text(box: Box) -> str:
    return "[" + ", ".join(f"{value:g}" for value in box) + "]"
