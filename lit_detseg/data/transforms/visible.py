"""Boxes of what can still be seen, after something was cut off.

The box of an object that a border cuts is not the box of its visible part: what is left of a
diagonal pole may lie in one corner of the clipped box. Where there is a mask, it tells.
"""

import numpy as np

from lit_detseg.data.records import Mask, Object
from lit_detseg.data.transforms.base import Sample
from lit_detseg.ops.masks import pack_masks, rle_columns
from lit_detseg.structures import UserError

NOTHING = np.zeros(4)
ROUNDING = 1e-6  # pixels


def cut_to_visible(sample: Sample, least_visible_fraction: float = 0.0) -> Sample:
    """Cut boxes to the windows of their objects, and remove what is hardly seen.

    Only objects whose box crosses its window are looked at; the others stay as they are. With a
    mask the new box is tight around the visible part of it, otherwise it is the clipped box.

    Args:
        sample: boxes may lie partly or wholly outside.
        least_visible_fraction: in [0, 1], of the object's area as annotated; that of the box where
            there is no mask. 0 removes only what is not seen at all.
    """
    over = np.maximum(sample.windows - sample.boxes, 0)[:, :2]
    under = np.maximum(sample.boxes - sample.windows, 0)[:, 2:]
    cut = np.flatnonzero((np.hstack([over, under]) > ROUNDING).any(axis=1))
    if not len(cut):
        return sample
    boxes, kept = sample.boxes.copy(), np.ones(len(sample.boxes), dtype=np.bool_)
    for number in cut.tolist():
        item, placement = sample.items[number], sample.placements[number]
        window = sample.windows[number]
        boxes[number], fraction = _visible(item, boxes[number], placement, window)
        has_area = np.all(boxes[number, 2:] > boxes[number, :2])
        kept[number] = has_area and fraction >= least_visible_fraction
    return sample._replace(boxes=boxes).only(kept)


def check_fraction(name: str, value: float) -> float:
    """The value, if it is in [0, 1].

    Raises:
        UserError: otherwise; `name` says of what.
    """
    if not 0 <= value <= 1:
        raise UserError(f"{name} = {value} must be from 0 to 1.")
    return value


def _visible(
    item: Object, box: np.ndarray, placement: np.ndarray, window: np.ndarray
) -> tuple[np.ndarray, float]:
    """The box of what the window shows of an object, and which fraction of its area that is."""
    if item.mask is None:
        clipped = np.concatenate(
            [box[:2].clip(*window.reshape(2, 2)), box[2:].clip(*window.reshape(2, 2))]
        )
        # Other windows may have cut the box before: what was annotated is the whole.
        annotated = np.array(item.box).reshape(2, 2) * placement[:2]
        whole = abs(np.prod(annotated[1] - annotated[0]))
        return clipped, float(np.prod(clipped[2:] - clipped[:2])) / max(whole, ROUNDING)
    of_mask = _visible_rle if isinstance(item.mask, dict) else _visible_polygons
    extent, area, whole = of_mask(item.mask, placement, window)
    return extent, area / max(whole, ROUNDING)


def _visible_polygons(
    mask: Mask, placement: np.ndarray, window: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """The box around what lies in the window, its area, and that of the whole."""
    extents, visible, whole = [], 0.0, 0.0
    for line in mask:
        points = np.array(line, dtype=np.float64).reshape(-1, 2) * placement[:2] + placement[2:]
        whole += _area(points)
        if (points.min(axis=0) >= window[2:]).any() or (points.max(axis=0) <= window[:2]).any():
            continue
        corners, area = _clip(points, window.reshape(2, 2))
        visible += area
        if len(corners):
            extents += [corners.min(axis=0), corners.max(axis=0)]
    if not extents:
        return NOTHING, 0.0, whole
    return np.concatenate([np.min(extents, axis=0), np.max(extents, axis=0)]), visible, whole


def _clip(points: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, float]:
    """What spans the part of a polygon inside a window, (K, 2), and the area of that part.

    Edges are divided where they cross the four lines of the window's border, and all points moved
    to the nearest one of the window: what lies outside becomes flat, and adds no area. The part is
    spanned by the pieces inside and by the corners of the window that it fills; a piece that runs
    along the border may belong to what lies on its other side.
    """
    edges = np.concatenate([points[1:], points[:1]]) - points
    crossings = np.zeros((len(points), 2, 2))
    np.divide(window - points[:, None], edges[:, None], crossings, where=edges[:, None] != 0)
    stops = np.zeros((len(points), 6))
    stops[:, 1:5], stops[:, 5] = crossings.reshape(-1, 4).clip(0, 1), 1
    stops.sort(axis=1)
    divided = points[:, None] + stops[:, :, None] * edges[:, None]
    moved = divided.clip(*window)
    middles = (divided[:, 1:] + divided[:, :-1]) / 2
    inside = ((middles > window[0] + ROUNDING) & (middles < window[1] - ROUNDING)).all(axis=2)
    pieces = np.concatenate([moved[:, :-1][inside], moved[:, 1:][inside]])
    corners = np.stack(np.meshgrid(*window.T), axis=-1).reshape(-1, 2)
    inwards = np.sign(window.mean(axis=0) - corners) * ROUNDING
    filled = corners[_inside(corners + inwards, points, edges)]
    return np.concatenate([pieces, filled]), _area(moved.reshape(-1, 2))


def _inside(corners: np.ndarray, points: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(4,) bool: whether an odd number of edges lies to the right of each corner."""
    y = corners[:, 1, None]
    crossed = (points[:, 1] <= y) != (points[:, 1] + edges[:, 1] <= y)
    height = np.where(edges[:, 1] == 0, 1, edges[:, 1])
    x = points[:, 0] + (y - points[:, 1]) / height * edges[:, 0]
    return (crossed & (x > corners[:, 0, None])).sum(axis=1) % 2 == 1


def _area(points: np.ndarray) -> float:
    """The shoelace formula, seen from the first point: the last edge adds nothing."""
    x, y = (points - points[:1]).T
    return abs(float(x[:-1] @ y[1:] - y[:-1] @ x[1:])) / 2


def _visible_rle(
    mask: Mask, placement: np.ndarray, window: np.ndarray
) -> tuple[np.ndarray, float, float]:
    """As for polygons; a pixel that the window cuts counts with its visible part."""
    packed = pack_masks([mask], [(0, 0)], placement[None], window[None])
    first, columns = rle_columns(packed.counts, *packed.sizes[0].tolist())
    starts = (np.array([first, 0]), np.array(columns.shape))
    borders = [
        ((start + np.arange(count + 1)) * placement[axis] + placement[2 + axis]).clip(
            window[axis], window[2 + axis]
        )
        for axis, (start, count) in enumerate(zip(*starts, strict=True))
    ]
    across, down = (np.abs(np.diff(border)) for border in borders)
    seen = columns & (across > ROUNDING)[:, None] & (down > ROUNDING)
    whole = columns.sum() * abs(placement[0] * placement[1])
    if not seen.any():
        return NOTHING, 0.0, whole
    spans = []
    for border, numbers in zip(borders, np.nonzero(seen), strict=True):
        ends = border[[numbers.min(), numbers.max() + 1]]
        spans.append(np.sort(ends))
    return np.stack(spans, axis=1).reshape(-1), float(across @ columns @ down), whole
