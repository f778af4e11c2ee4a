"""Drawn samples: each object in a colour of its own, with a polygon, an RLE or no mask."""

from typing import NamedTuple

import cv2
import numpy as np
from hypothesis import strategies as st
from pycocotools import mask as coco

from lit_detseg.data.records import Object
from lit_detseg.data.transforms import Sample
from lit_detseg.ops.masks import rasterise

BACKGROUND = 60
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255)]
FINE = 4  # cells per pixel in which boxes and masks are compared


class Shape(NamedTuple):
    """One object to draw: x1, y1, x2, y2 in whole pixels."""

    kind: str
    box: tuple[int, int, int, int]
    how: str = "polygon"  # or "rle", "box"


def rectangle(x1, y1, x2, y2):
    return [[x1, y1, x2, y1, x2, y2, x1, y2]]


def corner(x1, y1, x2, y2):
    x, y = (x1 + x2) // 2, (y1 + y2) // 2
    return [[x1, y1, x, y1, x, y, x2, y, x2, y2, x1, y2]]


def arch(x1, y1, x2, y2):
    x, y, thick = (x1 + x2) / 2, (y1 + y2) // 2, (x2 - x1) // 4
    left, right = int(x) - thick, int(x) + thick
    return [[x1, y1, x2, y1, x2, y2, right, y2, right, y, left, y, left, y2, x1, y2]]


def octagon(x1, y1, x2, y2):
    cut = min(x2 - x1, y2 - y1) // 3
    points = [
        *(x1 + cut, y1, x2 - cut, y1, x2, y1 + cut, x2, y2 - cut),
        *(x2 - cut, y2, x1 + cut, y2, x1, y2 - cut, x1, y1 + cut),
    ]
    return [points]


def two_parts(x1, y1, x2, y2):
    x, y = (x2 - x1) // 3, (y2 - y1) // 3
    return rectangle(x1, y1, x1 + x, y1 + y) + rectangle(x2 - x, y2 - y, x2, y2)


KINDS = {
    "rectangle": rectangle,
    "corner": corner,
    "arch": arch,
    "octagon": octagon,
    "two_parts": two_parts,
}


def outline(shape: Shape) -> list[list[float]]:
    return [[float(part) for part in line] for line in KINDS[shape.kind](*shape.box)]


def draw(height: int, width: int, shapes: list[Shape], first_colour: int = 0) -> Sample:
    """Objects that do not overlap, as pycocotools fills them; labels are the colours' numbers."""
    image = np.full((height, width, 3), BACKGROUND, dtype=np.uint8)
    items = []
    for number, shape in enumerate(shapes, first_colour):
        polygons = outline(shape)
        rle = coco.merge(coco.frPyObjects(polygons, height, width))
        pixels = coco.decode(rle).astype(bool)
        image[pixels] = COLOURS[number]
        box = tuple(float(part) for part in shape.box)
        as_annotated = {
            "polygon": polygons,
            "rle": {"size": [height, width], "counts": rle["counts"].decode()},
            "box": None,
        }
        area = float(pixels.sum())
        items.append(Object(box, number, area, as_annotated[shape.how], source_id=number))
    return Sample.from_objects(image, items)


@st.composite
def samples(draw_from, how=("polygon", "rle"), first_colour=0, least_objects=0):
    """Images of 24 to 48 pixels with up to two objects, at least 8 pixels wide, side by side."""
    height, width = draw_from(st.integers(24, 48)), draw_from(st.integers(24, 48))
    count = draw_from(st.integers(least_objects, 2))
    shapes = []
    for number in range(count):
        left, right = number * width // count, (number + 1) * width // count
        x1 = draw_from(st.integers(left, right - 9))
        y1 = draw_from(st.integers(0, height - 9))
        x2, y2 = draw_from(st.integers(x1 + 8, right)), draw_from(st.integers(y1 + 8, height))
        kind, as_what = draw_from(st.sampled_from(sorted(KINDS))), draw_from(st.sampled_from(how))
        shapes.append(Shape(kind, (x1, y1, x2, y2), as_what))
    return draw(height, width, shapes, first_colour)


def pixels_of(sample: Sample, cells_per_pixel: int = 1) -> np.ndarray:
    """(N, H, W) bool of the whole image, maybe in finer cells."""
    height, width = sample.image.shape[:2]
    count = len(sample.items)
    image = np.tile(np.array([0.0, 0, width, height]), (count, 1))
    sides = height * cells_per_pixel, width * cells_per_pixel
    return rasterise(sample.masks(), np.arange(count), image, *sides)


def tight(pixels: np.ndarray) -> np.ndarray:
    """XYXY around the cells of one mask that are on."""
    rows, columns = np.nonzero(pixels)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], float)


def check_whole(sample: Sample) -> None:
    """Each object has a box, a placement and a window, and the window is a part of the image."""
    height, width = sample.image.shape[:2]
    assert sample.image.dtype == np.uint8
    assert sample.image.shape == (height, width, 3)
    count = len(sample.items)
    for field in (sample.boxes, sample.placements, sample.windows):
        assert field.shape == (count, 4)
        assert np.isfinite(field).all()
    assert (sample.boxes[:, :2] <= sample.boxes[:, 2:]).all()
    assert (sample.windows >= 0).all()
    assert (sample.windows <= [width, height, width, height]).all()


def check_agreement(sample: Sample, tolerance: float = 1.0) -> None:
    """The box around an object's pixels is its box, up to some pixels."""
    fine = pixels_of(sample, FINE)
    for item, box, pixels in zip(sample.items, sample.boxes, fine, strict=True):
        if item.mask is None:
            continue
        if not pixels.any():  # thinner than a cell
            assert min(box[2:] - box[:2]) < tolerance
            continue
        assert np.abs(tight(pixels) / FINE - box).max() <= tolerance, (item, box)


def check_content(sample: Sample, blur: float = 2.0, levels: int = 2) -> None:
    """Under a mask, away from all borders, the image has the colour of the object."""
    radius = int(np.ceil(blur))
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    for item, pixels in zip(sample.items, pixels_of(sample), strict=True):
        inner = cv2.erode(pixels.astype(np.uint8), kernel, borderType=0, borderValue=0) > 0
        difference = sample.image[inner].astype(int) - COLOURS[item.label]
        assert np.abs(difference).max(initial=0) <= levels, item
