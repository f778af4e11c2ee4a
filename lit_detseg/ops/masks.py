"""Instance masks as flat arrays, and their pixels where something needs them.

Names:
    polygons: closed lines [[x, y, x, y, ...], ...]; what lies inside an odd number of times of one
              of them belongs to the object.
    RLE:      COCO's compressed run lengths {"size": [height, width], "counts": "..."}: pixels
              column by column, first those outside.
    runs:     the run lengths themselves, outside and inside in turn.
    region:   a box over the current image in which the pixels of one object are asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from lit_detseg.structures import InstanceMasks

AnnotatedMask = Sequence[Any] | Mapping[str, Any]  # polygons, or an RLE

# The alphabet of compressed RLEs (pycocotools, common/maskApi.c, rleToString).
FIRST_CHARACTER = 48
CONTINUES, VALUE, SIGN = 0x20, 0x1F, 0x10
BITS = 5  # of a number in each character

LEAST_SIDE = 1e-9  # pixels; a region may have no area, and its cells all the same centre


def pack_masks(
    annotated: Sequence[AnnotatedMask | None],
    sizes: Sequence[tuple[int, int]],
    placements: Float[np.ndarray, "objects 4"],
    windows: Float[np.ndarray, "objects 4"],
) -> InstanceMasks:
    """Lay the masks of N objects end to end.

    Args:
        annotated: polygons, an RLE or None for each object.
        sizes: height and width of the image on which each object was annotated; an RLE knows its
            own better.
        placements: see `InstanceMasks`.
        windows: see `InstanceMasks`.
    """
    rles = [one if isinstance(one, Mapping) else None for one in annotated]
    polygons = [[] if one is None or isinstance(one, Mapping) else one for one in annotated]
    lines = list(chain.from_iterable(polygons))
    coordinates = np.array(list(chain.from_iterable(lines)), dtype=np.float64)
    counts = [b"" if rle is None else _bytes(rle["counts"]) for rle in rles]
    own_sizes = [
        tuple(size) if rle is None else tuple(rle["size"])
        for rle, size in zip(rles, sizes, strict=True)
    ]
    return InstanceMasks(
        points=coordinates.reshape(-1, 2),
        polygon_points=np.array([len(line) // 2 for line in lines], dtype=np.int64),
        polygons=np.array([len(one) for one in polygons], dtype=np.int64),
        counts=np.frombuffer(b"".join(counts), dtype=np.uint8),
        count_bytes=np.array([len(one) for one in counts], dtype=np.int64),
        sizes=np.array(own_sizes, dtype=np.int64).reshape(-1, 2),
        placements=np.asarray(placements, dtype=np.float64).reshape(-1, 4),
        windows=np.asarray(windows, dtype=np.float64).reshape(-1, 4),
    )


def split_masks(masks: InstanceMasks, counts: Sequence[int]) -> list[InstanceMasks]:
    """Cut the masks of a batch into those of each image, without a copy.

    Args:
        masks: of N objects, image after image.
        counts: objects of each image; they sum to N.
    """
    objects = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    polygons = _starts(masks.polygons)[objects]
    points = _starts(masks.polygon_points)[polygons]
    letters = _starts(masks.count_bytes)[objects]
    rows = zip(_pairs(objects), _pairs(polygons), _pairs(points), _pairs(letters), strict=True)
    return [
        InstanceMasks(
            points=masks.points[of_points],
            polygon_points=masks.polygon_points[of_polygons],
            polygons=masks.polygons[of_objects],
            counts=masks.counts[of_letters],
            count_bytes=masks.count_bytes[of_objects],
            sizes=masks.sizes[of_objects],
            placements=masks.placements[of_objects],
            windows=masks.windows[of_objects],
        )
        for of_objects, of_polygons, of_points, of_letters in rows
    ]


def rasterise(
    masks: InstanceMasks,
    objects: Int[np.ndarray, " regions"],
    boxes: Float[np.ndarray, "regions 4"],
    height: int,
    width: int,
) -> Bool[np.ndarray, "regions {height} {width}"]:
    """The pixels of objects in regions of the image, each divided into height x width cells.

    A cell is on where its centre lies inside the object and inside the object's window. An object
    that has no mask has no pixels: its box is no mask.

    Args:
        masks: of all objects.
        objects: which of them is asked for in each region.
        boxes: the regions, XYXY in pixels of the current image; [0, 0, its width, its height]
            gives the whole image.
        height: cells of each region from top to bottom.
        width: cells of each region from left to right.
    """
    pixels = np.zeros((len(objects), height, width), dtype=np.bool_)
    # A point (x, y) of an annotation stands at (x, y) scale + offset, counted in cells.
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], LEAST_SIDE)
    cells_per_pixel = np.array([width, height]) / sides
    placements = masks.placements[objects]
    scale = placements[:, :2] * cells_per_pixel
    offset = (placements[:, 2:] - boxes[:, :2]) * cells_per_pixel
    _fill_polygons(pixels, masks, objects, scale, offset)
    _fill_runs(pixels, masks, objects, scale, offset)
    windows = masks.windows[objects].reshape(-1, 2, 2) - boxes[:, None, :2]
    _clear_outside(pixels, windows * cells_per_pixel[:, None])
    return pixels


def decode_counts(counts: UInt8[np.ndarray, " bytes"]) -> Int[np.ndarray, " runs"]:
    """The runs of one compressed RLE (maskApi.c, rleFrString).

    Each character holds five bits of a number, the lowest first; from the fourth number on it is
    the difference to the run two before.
    """
    if not len(counts):
        return np.zeros(0, dtype=np.int64)
    letters = counts.astype(np.int64) - FIRST_CHARACTER
    last = (letters & CONTINUES) == 0
    starts = np.flatnonzero(np.concatenate([[True], last[:-1]]))
    lengths = np.diff(starts, append=len(letters))
    shifts = BITS * (np.arange(len(letters)) - np.repeat(starts, lengths))
    runs = np.add.reduceat((letters & VALUE) << shifts, starts)
    negative = (letters[starts + lengths - 1] & SIGN) != 0
    runs -= negative.astype(np.int64) << (BITS * lengths)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs


def rle_columns(
    counts: UInt8[np.ndarray, " bytes"], height: int, width: int
) -> tuple[int, Bool[np.ndarray, "columns {height}"]]:
    """The columns of an RLE's image between the leftmost and the rightmost pixel of the object.

    Returns:
        The number of the first of them, and their pixels: one row of the array each.

    Raises:
        ValueError: when the runs do not add up to height x width pixels.
    """
    runs = decode_counts(counts)
    ends = np.cumsum(runs)
    if not len(runs) or ends[-1] != height * width or runs.min() < 0:
        covered = ends[-1] if len(ends) else 0
        raise ValueError(
            f"The runs of an RLE cover {covered} pixels of an image of {height} x {width}: "
            "it is cut off, or was made for an image of another size."
        )
    inside = np.flatnonzero(runs[1::2]) * 2 + 1  # the runs inside, without empty ones
    if not len(inside):
        return 0, np.zeros((0, height), dtype=np.bool_)
    first, behind = int(ends[inside[0] - 1]) // height, -(-int(ends[inside[-1]]) // height)
    runs = np.diff(ends.clip(first * height, behind * height), prepend=first * height)
    return first, np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(-1, height)


def _fill_polygons(
    pixels: np.ndarray,
    masks: InstanceMasks,
    objects: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
) -> None:
    """Switch on the cells inside the polygons of each region's object.

    A cell is inside where an odd number of edges passes above its centre: each edge toggles, in
    each column whose centre it crosses, the first cell below it, and the toggles add up downwards.
    """
    _, height, width = pixels.shape
    of_region = masks.polygons[objects]
    polygon = _ranges(_starts(masks.polygons)[objects], of_region)
    region = np.repeat(np.arange(len(objects)), of_region)
    num_points = masks.polygon_points[polygon]
    point = _ranges(_starts(masks.polygon_points)[polygon], num_points)
    if not len(point):
        return
    line = np.repeat(np.arange(len(polygon)), num_points)  # number of each point's polygon
    corners = masks.points[point] * scale[region[line]] + offset[region[line]]
    following = np.arange(1, len(point) + 1)
    ends = np.cumsum(num_points)
    drawn = num_points > 0
    following[ends[drawn] - 1] = (ends - num_points)[drawn]
    toggles = _toggles(corners, corners[following], line, len(polygon), height, width)
    for above, below in zip(toggles, toggles[1:], strict=False):
        below ^= above
    rank = _ranges(np.zeros_like(of_region), of_region)  # number of a polygon within its region
    for number in range(int(of_region.max())):
        those = rank == number
        pixels[region[those]] |= toggles[:, those].transpose(1, 0, 2)


def _toggles(
    start: np.ndarray, end: np.ndarray, line: np.ndarray, lines: int, height: int, width: int
) -> np.ndarray:
    """(height, lines, width) bool: whether an odd number of a line's edges ends a run here."""
    left = _first_centre(np.minimum(start[:, 0], end[:, 0]), width)
    right = _first_centre(np.maximum(start[:, 0], end[:, 0]), width)
    edge = np.repeat(np.arange(len(line)), right - left)
    column = _ranges(left, right - left)
    slope = (end[edge, 1] - start[edge, 1]) / (end[edge, 0] - start[edge, 0])
    row = _first_centre(start[edge, 1] + (column + 0.5 - start[edge, 0]) * slope, height)
    inside = row < height
    toggles = np.zeros((height, lines, width), dtype=np.uint8)
    place = (row * lines + line[edge]) * width + column
    np.add.at(toggles.reshape(-1), place[inside], np.uint8(1))  # wraps at 256, which is even
    return (toggles & 1).view(np.bool_)


def _first_centre(position: np.ndarray, cells: int) -> np.ndarray:
    """The first of the cells whose centre lies at or behind a position; `cells` where none does."""
    return np.ceil(position - 0.5).clip(0, cells).astype(np.int64)


def _fill_runs(
    pixels: np.ndarray,
    masks: InstanceMasks,
    objects: np.ndarray,
    scale: np.ndarray,
    offset: np.ndarray,
) -> None:
    """Switch on the cells whose centre lies in a pixel of the RLE of each region's object."""
    _, height, width = pixels.shape
    letters = _starts(masks.count_bytes)
    for number in np.unique(objects[masks.count_bytes[objects] > 0]).tolist():
        its_height, its_width = masks.sizes[number].tolist()
        counts = masks.counts[letters[number] : letters[number + 1]]
        first, columns = rle_columns(counts, its_height, its_width)
        # A frame of cells that are off, for all that lies outside.
        framed = np.pad(columns, ((0, 1), (0, 1)))
        regions = np.flatnonzero(objects == number)
        shift, size = offset[regions, :, None], scale[regions, :, None]
        x = np.floor((np.arange(width) + 0.5 - shift[:, 0]) / size[:, 0]) - first
        y = np.floor((np.arange(height) + 0.5 - shift[:, 1]) / size[:, 1])
        x = np.where((x >= 0) & (x < len(columns)), x, -1).astype(np.int64)
        y = np.where((y >= 0) & (y < its_height), y, -1).astype(np.int64)
        pixels[regions] = framed[x[:, None, :], y[:, :, None]]


def _clear_outside(pixels: np.ndarray, window: np.ndarray) -> None:
    """Switch off the cells whose centre lies outside of (R, 2, 2) windows, counted in cells."""
    _, height, width = pixels.shape
    (left, top), (right, bottom) = (window[:, corner].T[:, :, None] for corner in (0, 1))
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    columns, rows = (x >= left) & (x < right), (y >= top) & (y < bottom)
    cut = np.flatnonzero(~(columns.all(axis=1) & rows.all(axis=1)))
    pixels[cut] &= rows[cut, :, None] & columns[cut, None, :]


def _bytes(counts: str | bytes) -> bytes:
    return counts.encode("ascii") if isinstance(counts, str) else counts


def _starts(lengths: np.ndarray) -> np.ndarray:
    """Where each of some pieces starts that lie end to end, and where the last ends."""
    return np.concatenate([[0], np.cumsum(lengths)])


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The numbers start, start + 1, ..., start + length - 1 of each pair, end to end."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(starts[: len(lengths)] - (ends - lengths), lengths)


def _pairs(bounds: np.ndarray) -> Iterator[slice]:
    return (slice(*pair) for pair in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True))
