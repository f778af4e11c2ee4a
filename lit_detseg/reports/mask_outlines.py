"""Instance masks as outlines that a browser draws: the data of SVG paths.

Polygons keep their points; run lengths become the border of their pixels, at the resolution at
which the image is shown.
"""

from typing import Any, NamedTuple

import numpy as np

from lit_detseg.ops.masks import rasterise, rle_columns
from lit_detseg.structures import InstanceMasks

ROUNDING = 1e-6  # pixels


class Outline(NamedTuple):
    """The mask of one object, in pixels of the image it is drawn on.

    The object is the union of the paths; each is filled by the even-odd rule.
    """

    paths: tuple[str, ...]  # SVG path data
    window: tuple[float, ...] | None  # XYXY, what to draw of them; None: all

    def to_json(self) -> dict[str, Any]:
        """The form that the page reads."""
        window = {} if self.window is None else {"window": list(self.window)}
        return {"paths": list(self.paths), **window}


def outlines(masks: InstanceMasks, scale: float = 1.0) -> list[Outline | None]:
    """The outline of each object, or None where no mask was annotated.

    Args:
        masks: of N objects.
        scale: shown pixels per pixel of the image; run lengths are drawn no finer than that.

    Raises:
        ValueError: when run lengths do not fit their image.
    """
    found: list[Outline | None] = []
    polygon_ends = np.cumsum(masks.polygon_points)
    first_polygon = 0
    for number, polygons in enumerate(masks.polygons.tolist()):
        ends = polygon_ends[first_polygon : first_polygon + polygons]
        lengths = masks.polygon_points[first_polygon : first_polygon + polygons]
        first_polygon += polygons
        if polygons:
            lines = [masks.points[e - n : e] for e, n in zip(ends.tolist(), lengths, strict=True)]
            found.append(_of_polygons(lines, masks.placements[number], masks.windows[number]))
        elif masks.count_bytes[number]:
            found.append(_of_runs(masks, number, min(scale, 1.0)))
        else:
            found.append(None)
    return found


def trace(pixels: np.ndarray) -> list[np.ndarray]:
    """The closed lines between the pixels that are on and those that are off.

    Along each grid line, horizontal or vertical, every other corner begins a piece of border that
    the next one ends. Where two pixels touch at a corner only, that point is two corners.

    Args:
        pixels: (H, W) bool.

    Returns:
        One array per line: (K, 2) int64, x and y of its corners; from the first one goes sideways
        to the second, then up or down to the third, and so on round to the first.
    """
    framed = np.pad(pixels, 1)
    above, below = framed[:-1], framed[1:]
    a, b, c, d = above[:, :-1], above[:, 1:], below[:, :-1], below[:, 1:]
    touching = (a == d) & (b == c) & (a != b)
    y, x = np.nonzero((a ^ b ^ c ^ d) | touching)
    twice = 1 + touching[y, x]
    corners = np.repeat(np.stack([x, y], axis=1), twice, axis=0)  # by row, then by column
    by_column = np.lexsort((corners[:, 1], corners[:, 0]))
    above_or_below = np.empty(len(corners), dtype=np.int64)
    above_or_below[by_column] = by_column.reshape(-1, 2)[:, ::-1].ravel()
    lines, seen = [], np.zeros(len(corners), dtype=np.bool_)
    partner = above_or_below.tolist()
    for start in range(0, len(corners), 2):
        line, corner = [], start
        while not seen[corner]:
            beside = corner ^ 1
            seen[[corner, beside]] = True
            line += [corner, beside]
            corner = partner[beside]
        if line:
            lines.append(corners[line])
    return lines


def _of_polygons(
    lines: list[np.ndarray], placement: np.ndarray, window: np.ndarray
) -> Outline | None:
    placed = [line * placement[:2] + placement[2:] for line in lines if len(line)]
    if not placed:
        return None
    points = np.concatenate(placed)
    low, high = window[:2] - ROUNDING, window[2:] + ROUNDING
    inside = np.all((points >= low) & (points <= high))
    paths = tuple(f"M{' '.join(_number(value) for value in line.ravel())}Z" for line in placed)
    return Outline(paths, None if inside else tuple(window.round(2).tolist()))


def _of_runs(masks: InstanceMasks, number: int, scale: float) -> Outline | None:
    region = _region(masks, number, scale)
    if region is None:
        return Outline((), None)
    width, height = np.rint((region[2:] - region[:2]) * scale).astype(int).tolist()
    pixels = rasterise(masks, np.array([number]), region[None], height, width)[0]
    path = "".join(_steps(line / scale + region[:2]) for line in trace(pixels))
    return Outline((path,) if path else (), None)


def _region(masks: InstanceMasks, number: int, scale: float) -> np.ndarray | None:
    """XYXY around what the window shows of an RLE, whole shown pixels; None if that is nothing."""
    end = int(masks.count_bytes[: number + 1].sum())
    counts = masks.counts[end - masks.count_bytes[number] : end]
    first, columns = rle_columns(counts, *masks.sizes[number].tolist())
    if not columns.size:
        return None
    rows = np.flatnonzero(columns.any(axis=0))
    extent = np.array([[first, rows[0]], [first + len(columns), rows[-1] + 1]], dtype=np.float64)
    placement, window = masks.placements[number], masks.windows[number].reshape(2, 2)
    placed = np.sort(extent * placement[:2] + placement[2:], axis=0).clip(*window)
    shown = placed * scale
    low, high = np.floor(shown[0] + ROUNDING), np.ceil(shown[1] - ROUNDING)
    return np.concatenate([low, high]) / scale if np.all(high > low) else None


def _steps(corners: np.ndarray) -> str:
    """The path data of a line whose pieces are horizontal and vertical in turn."""
    x, y = corners[0]
    steps = [f"M{_number(x)} {_number(y)}"]
    for place, (x, y) in enumerate(corners[1:]):
        steps.append(f"V{_number(y)}" if place % 2 else f"H{_number(x)}")
    return "".join([*steps, "Z"])


def _number(value: float) -> str:
    """A coordinate to a tenth of a pixel, as short as possible."""
    return f"{value:.1f}".removesuffix(".0")
