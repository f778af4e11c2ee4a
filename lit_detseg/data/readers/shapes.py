"""Drawn shapes: a detection and instance segmentation data set that needs no download.

Circles, squares and triangles of any colour, texture and turn lie over each other on a noisy
background. The mask of a shape is what is left visible of it, its box is tight around that, and
every shape drawn is annotated. Image `i` depends on (seed, i, size) only, so a larger set begins
with the smaller one.
"""

from typing import Any, NamedTuple

import cv2
import numpy as np

from lit_detseg.data.packing.checks import Fault
from lit_detseg.data.records import Object, RawSample
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

CLASSES = ("circle", "square", "triangle")
CORNERS = {"circle": 48, "square": 4, "triangle": 3}
EMPTY_PROBABILITY = 0.02  # images without objects
MOST_SHAPES = 6
ATTEMPTS = 12  # placements tried per shape
RADIUS = (0.08, 0.26)  # of the circumscribed circle, in image sizes
LEAST_VISIBLE_FRACTION = 0.5  # of a shape's full area
LEAST_VISIBLE_PIXELS = 30
JPEG_QUALITY = 90
SUBPIXEL_BITS = 4  # cv2 draws polygons at 1 / 16 pixel


class Shape(NamedTuple):
    """A placed shape."""

    label: int
    coverage: np.ndarray  # (H, W) uint8, 255 inside, less on the border
    area: int  # pixels, visible or not, inside the image or not


class ShapesReader:
    """Draws `images` images of `size` x `size` pixels.

    Raises:
        UserError: when there is nothing to draw, or no room for it.
    """

    label_map = LabelMap(CLASSES)
    faults: tuple[Fault, ...] = ()

    def __init__(self, images: int = 2000, seed: int = 0, size: int = 128) -> None:
        if images < 1 or size < 48 or seed < 0:
            raise UserError(
                f"images = {images}, seed = {seed}, size = {size}: draw at least 1 image of at "
                "least 48 pixels, with a seed of 0 or more."
            )
        self.images, self.seed, self.size = images, seed, size
        self.title = f"{images} drawn images"
        self.source: dict[str, Any] = {"data_set": "shapes", "seed": seed, "size": size}

    def __len__(self) -> int:
        return self.images

    def read(self, rank: int) -> tuple[RawSample, list[Fault]]:
        """Draw image `rank`."""
        return self._sample(rank), []

    def _sample(self, number: int) -> RawSample:
        pixels, shapes = draw(np.random.default_rng([self.seed, number]), self.size)
        owner = _owner(shapes, self.size)
        objects = tuple(
            _object(owner == place, shape.label, place) for place, shape in enumerate(shapes, 1)
        )
        bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        key = f"{number:08d}"
        return RawSample(key, data, self.size, self.size, objects, number, f"{key}.jpg")


def draw(generator: np.random.Generator, size: int) -> tuple[np.ndarray, list[Shape]]:
    """An image, (size, size, 3) uint8 RGB, and the shapes on it, the lowest first."""
    shapes = _place(generator, size)
    canvas = _background(generator, size)
    for shape in shapes:
        _paint(generator, canvas, shape, size)
    canvas += generator.normal(0, 3, (size, size, 1)).astype(np.float32)  # the camera's grain
    return canvas.clip(0, 255).astype(np.uint8), shapes


def _paint(generator: np.random.Generator, canvas: np.ndarray, shape: Shape, size: int) -> None:
    """Lay one shape and its shadow over the canvas; works in a window around it, for speed."""
    x, y, width, height = cv2.boundingRect(shape.coverage)
    margin, shift = size // 10, max(1, size // 64)  # reach and offset of the shadow, pixels
    rows = slice(max(y - margin, 0), y + height + margin)
    columns = slice(max(x - margin, 0), x + width + margin)
    window, coverage = canvas[rows, columns], shape.coverage[rows, columns]
    shadow = cv2.GaussianBlur(coverage, (0, 0), size / 40).astype(np.float32) / 255
    window[shift:, shift:] *= 1 - 0.45 * shadow[:-shift, :-shift, None]
    alpha = coverage[..., None].astype(np.float32) / 255
    window += alpha * (_surface(generator, coverage, size) - window)


def _place(generator: np.random.Generator, size: int) -> list[Shape]:
    """Shapes of which enough stays visible; fewer than wished for where there is no room."""
    shapes: list[Shape] = []
    if generator.random() < EMPTY_PROBABILITY:
        return shapes
    for _ in range(generator.integers(1, MOST_SHAPES + 1)):
        for _ in range(ATTEMPTS):
            candidate = [*shapes, _random_shape(generator, size)]
            if _all_visible(candidate, size):
                shapes = candidate
                break
    return shapes


def _random_shape(generator: np.random.Generator, size: int) -> Shape:
    """A regular polygon somewhere; a circle is one of many corners."""
    label = int(generator.integers(len(CLASSES)))
    corners = CORNERS[CLASSES[label]]
    radius = size * generator.uniform(*RADIUS)
    angles = generator.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    center = generator.uniform(0.12 * size, 0.88 * size, 2)
    points = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    coverage = np.zeros((size, size), np.uint8)
    fixed_point = np.round(points * 2**SUBPIXEL_BITS).astype(np.int32)
    cv2.fillPoly(coverage, [fixed_point], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    area = 0.5 * corners * radius**2 * np.sin(2 * np.pi / corners)
    return Shape(label, coverage, round(area))


def _owner(shapes: list[Shape], size: int) -> np.ndarray:
    """(size, size) uint8: which shape is seen at each pixel, from 1; 0 is background."""
    owner = np.zeros((size, size), np.uint8)
    for place, shape in enumerate(shapes, start=1):
        owner[shape.coverage > 127] = place
    return owner


def _all_visible(shapes: list[Shape], size: int) -> bool:
    """Whether no shape is nearly hidden, by the others or by the border."""
    visible = np.bincount(_owner(shapes, size).ravel(), minlength=len(shapes) + 1)[1:]
    return all(
        pixels >= max(LEAST_VISIBLE_PIXELS, LEAST_VISIBLE_FRACTION * shape.area)
        for pixels, shape in zip(visible, shapes, strict=True)
    )


def _object(mask: np.ndarray, label: int, place: int) -> Object:
    """The annotation of a visible mask, (H, W) bool."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x1, y1, x2, y2 = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return Object(
        box=(float(x1), float(y1), float(x2), float(y2)),
        label=label,
        area=float(mask.sum()),
        mask={"size": list(mask.shape), "counts": rle["counts"].decode("ascii")},
        source_id=place,
    )


def _background(generator: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) float32: a pale gradient under clouds of several sizes."""
    first, second = (_color(generator, (0.1, 0.5), (0.35, 0.85)) for _ in range(2))
    canvas = first + _ramp(generator, size, size)[..., None] * (second - first)
    for cells, strength in ((3, 30), (9, 16), (size // 4, 7)):
        canvas += strength * _clouds(generator, size, size, cells)[..., None]
    return canvas


def _surface(generator: np.random.Generator, coverage: np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) float32: the colour, pattern, light and dark rim of one shape."""
    color = _color(generator, (0.55, 1.0), (0.6, 1.0))
    other = 0.5 * (color + _color(generator, (0.4, 1.0), (0.3, 1.0)))  # outlines stand out
    height, width = coverage.shape
    pattern = _pattern(generator, height, width, period=size * generator.uniform(0.06, 0.12))
    light = 0.8 + 0.35 * _ramp(generator, height, width)
    inside = cv2.erode(coverage, np.ones((3, 3), np.uint8), iterations=max(1, size // 128))
    light *= np.where(inside > 127, 1.0, 0.55).astype(np.float32)
    return (color + pattern[..., None] * (other - color)) * light[..., None]


def _pattern(generator: np.random.Generator, height: int, width: int, period: float) -> np.ndarray:
    """(H, W) float32 in [0, 1]: where the second colour of a shape shows."""
    kind = generator.integers(4)
    along, across = _axes(generator, height, width)
    if kind == 0:  # plain
        return np.zeros((height, width), np.float32)
    if kind == 1:  # stripes
        return _step(np.sin(2 * np.pi * along / period))
    if kind == 2:  # dots
        waves = np.sin(2 * np.pi * along / period) + np.sin(2 * np.pi * across / period)
        return _step(waves - 0.7)
    return np.clip(0.5 + 0.5 * _clouds(generator, height, width, 6), 0, 1)  # marble


def _step(wave: np.ndarray) -> np.ndarray:
    """0 below and 1 above zero, with a soft edge."""
    return np.clip(0.5 + 2 * wave, 0, 1)


def _axes(generator: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from the center, each (H, W) float32, along and across a random direction."""
    angle = generator.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    x = np.arange(width, dtype=np.float32)[None, :] - width / 2
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2
    return x * cos + y * sin, y * cos - x * sin


def _ramp(generator: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W) float32: 0 to 1 from one side to the other, in a random direction."""
    along, _ = _axes(generator, height, width)
    return np.clip(along / (1.4 * max(height, width)) + 0.5, 0, 1)


def _clouds(generator: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """(H, W) float32 around 0: smooth noise of `cells` bumps a side."""
    noise = generator.normal(0, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def _color(
    generator: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]
) -> np.ndarray:
    """(3,) float32 RGB of any hue."""
    hsv = [generator.uniform(0, 360), generator.uniform(*saturation), generator.uniform(*value)]
    return 255 * cv2.cvtColor(np.array([[hsv]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]
