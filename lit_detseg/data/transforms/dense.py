"""Masks as pixels and back, for the few transforms that cannot do without."""

import numpy as np

from lit_detseg.data.records import Mask
from lit_detseg.data.transforms.base import Sample
from lit_detseg.ops.masks import rasterise

Slices = tuple[slice, slice]  # rows and columns of the image


def cut_out_masks(sample: Sample) -> list[tuple[Slices, np.ndarray]]:
    """Of each object a part of the image that holds all its pixels, and these as (h, w) bool.

    An object without a mask has none.
    """
    masks = sample.masks()
    size = np.array(sample.image.shape[1::-1])
    points = np.split(masks.points, np.cumsum(masks.polygon_points))[:-1]
    outlines = iter(points)
    found = []
    for number, polygons in enumerate(masks.polygons.tolist()):
        window = masks.windows[number].reshape(2, 2)
        if polygons:
            corners = np.concatenate([next(outlines) for _ in range(polygons)])
            placed = corners * masks.placements[number, :2] + masks.placements[number, 2:]
            window = np.stack([placed.min(axis=0), placed.max(axis=0)]).clip(*window)
        first = np.floor(window[0]).clip(0, size).astype(np.int64)
        last = np.ceil(window[1]).clip(first, size).astype(np.int64)
        box = np.concatenate([first, last])[None].astype(np.float64)
        width, height = (last - first).tolist()
        pixels = rasterise(masks, np.array([number]), box, height, width)[0]
        found.append((np.s_[first[1] : last[1], first[0] : last[0]], pixels))
    return found


def dense_masks(sample: Sample) -> np.ndarray:
    """(N, H, W) bool: the objects' pixels in the current image; none of an object without mask."""
    planes = np.zeros((len(sample.items), *sample.image.shape[:2]), dtype=np.bool_)
    for plane, (place, pixels) in zip(planes, cut_out_masks(sample), strict=True):
        plane[place] = pixels
    return planes


def encode(pixels: np.ndarray, size: tuple[int, int], place: Slices = np.s_[:, :]) -> Mask:
    """A compressed RLE of an image of `size` (height, width) with (h, w) bool at a place of it."""
    from pycocotools import mask

    columns = np.zeros(size[::-1], dtype=np.uint8)  # column by column, as RLEs count
    columns.T[place] = pixels
    return {"size": list(size), "counts": mask.encode(columns.T)["counts"].decode("ascii")}


def tight_box(pixels: np.ndarray) -> np.ndarray:
    """(4,) float64 XYXY around what is on in (H, W) bool; zeros around nothing."""
    columns = np.flatnonzero(np.logical_or.reduce(pixels, axis=0))
    rows = np.flatnonzero(np.logical_or.reduce(pixels, axis=1))
    if not len(rows):
        return np.zeros(4)
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)
