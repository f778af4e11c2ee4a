"""Instance masks on their way from the shards to whatever needs pixels of them.

A mask stays what its annotator drew, points or run lengths, and moves by four numbers: to resize,
crop or flip an image costs the same with a thousand points as with ten, and no rounding adds up.
Pixels exist only where something asks for them, at its resolution (`ops/masks.py`).
"""

from typing import NamedTuple

import numpy as np


class InstanceMasks(NamedTuple):
    """Masks of N objects: flat arrays, which stay on the CPU when a batch moves to a device.

    An object has polygons, run lengths, or neither (nothing was annotated). In the image a point
    (x, y) of the annotation stands at (x scale_x + offset_x, y scale_y + offset_y); a scale below 0
    mirrors. In evaluation the annotation's pixels are those of the original image.
    """

    # x and y of all polygons, pixels of the annotated image. COCO's fill depends on the last digit
    # of a coordinate like 0.1: in float32 a third of its objects would gain or lose a pixel.
    points: np.ndarray  # (T, 2) float64
    polygon_points: np.ndarray  # (G,) int64, points of each polygon; they sum to T
    polygons: np.ndarray  # (N,) int64, polygons of each object; they sum to G
    counts: np.ndarray  # (Q,) uint8, the bytes of all compressed RLEs, as in COCO
    count_bytes: np.ndarray  # (N,) int64, bytes of each object's RLE; they sum to Q
    sizes: np.ndarray  # (N, 2) int64, height and width of the annotated image
    placements: np.ndarray  # (N, 4) float64: scale x, scale y, offset x, offset y
    windows: np.ndarray  # (N, 4) float64 XYXY: what of the image may show the object
