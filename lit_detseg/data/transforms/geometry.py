"""Sizes and mirrors: what moves the whole image and cuts nothing off."""

import cv2
import numpy as np

from lit_detseg.data.hashing import hashed
from lit_detseg.data.transforms.base import Sample, Transform, move
from lit_detseg.data.transforms.visible import check_fraction
from lit_detseg.structures import UserError

YOLO_SIZES = tuple(range(320, 609, 32))
_SIZES = 4  # a stream of random numbers, beside those of `epoch_order.py`


class ResizeShortestSide(Transform):
    """Bring the shorter side to `min_size`, unless the longer one would exceed `max_size`.

    The rule of Fast R-CNN (arXiv:1504.08083, section 5.2): 600 and 1000 there, 800 and 1333 in
    FPN's successors.

    Args:
        min_size: pixels; of several, one is drawn for each image.
        max_size: pixels, limit of the longer side.
    """

    def __init__(self, min_size: int | list[int], max_size: int) -> None:
        self.min_sizes = [min_size] if isinstance(min_size, int) else list(min_size)
        self.max_size = max_size
        if not self.min_sizes or not 0 < min(self.min_sizes) <= max(self.min_sizes) <= max_size:
            raise UserError(
                f"ResizeShortestSide(min_size={min_size}, max_size={max_size}) is impossible: "
                "each min_size must be from 1 to max_size."
            )

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Resize image and boxes, keeping the aspect ratio up to a pixel's rounding."""
        min_size = self.min_sizes[0]
        if len(self.min_sizes) > 1:
            min_size = self.min_sizes[random.integers(len(self.min_sizes))]
        height, width = sample.image.shape[:2]
        ratio = min(min_size / min(height, width), self.max_size / max(height, width))
        return resize(sample, *scaled_size(sample, ratio))


class ResizeLongestSide(Transform):
    """Bring the longer side to `size`, as ultralytics does before it pads to a square."""

    def __init__(self, size: int) -> None:
        if size < 1:
            raise UserError(f"ResizeLongestSide({size}): the side must be at least 1 pixel.")
        self.size = size

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Resize image and boxes, keeping the aspect ratio up to a pixel's rounding."""
        ratio = self.size / max(sample.image.shape[:2])
        return resize(sample, *scaled_size(sample, ratio))


class Resize(Transform):
    """Bring the image to one size, whatever its aspect ratio (YOLO: 448 x 448, 416 x 416)."""

    def __init__(self, height: int, width: int) -> None:
        if min(height, width) < 1:
            raise UserError(f"Resize({height}, {width}): both sides must be at least 1 pixel.")
        self.height = height
        self.width = width

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Resize image and boxes, each axis by itself."""
        return resize(sample, self.height, self.width)


class RandomResize(Transform):
    """Resize each image to a size, or by a factor, of its own.

    Args:
        sizes: pairs (height, width) of which one is drawn, whatever the image's aspect ratio.
        scales: least and largest factor for both sides, drawn uniformly; (0.8, 1.25) is the
            standard scale jitter of Simple Copy-Paste (arXiv:2012.07177, figure 2).

    Raises:
        UserError: unless exactly one of the two is given.
    """

    def __init__(
        self,
        sizes: list[tuple[int, int]] | None = None,
        scales: tuple[float, float] | None = None,
    ) -> None:
        if (sizes is None) == (scales is None):
            raise UserError("RandomResize: give either sizes or scales.")
        if sizes is not None and (not sizes or min(min(size) for size in sizes) < 1):
            raise UserError(f"RandomResize(sizes={sizes}): give sides of at least 1 pixel.")
        if scales is not None:
            check_range("RandomResize: scales", scales)
        self.sizes = sizes
        self.scales = scales

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Draw a size and resize image and boxes to it."""
        if self.sizes is not None:
            return resize(sample, *self.sizes[random.integers(len(self.sizes))])
        assert self.scales is not None
        return resize(sample, *scaled_size(sample, random.uniform(*self.scales)))


class MultiScale(Transform):
    """One square size for all images of a step, another one every few steps.

    YOLOv2 (arXiv:1612.08242, section 2, "Multi-Scale Training"): 320 to 608 in steps of 32, drawn
    anew every 10 batches. Here the size is a hash of (seed, step // every): the same on every
    rank and after a restart. Darknet takes 608 for the last 200 batches; this does not.

    Args:
        sizes: sides in pixels; not given: YOLOv2's ten.
        every: optimiser steps with the same size.
    """

    def __init__(self, sizes: list[int] | None = None, every: int = 10) -> None:
        self.sizes = list(YOLO_SIZES) if sizes is None else list(sizes)
        self.every = every
        if not self.sizes or min(self.sizes) < 1 or every < 1:
            raise UserError(f"MultiScale(sizes={sizes}, every={every}): all must be at least 1.")

    def at_step(self, step: int, seed: int) -> Transform:
        """The resize that all images of this optimiser step share."""
        drawn = int(hashed(np.array([step // self.every]), seed, _SIZES)[0]) % len(self.sizes)
        return Resize(self.sizes[drawn], self.sizes[drawn])

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Refuse: an image alone does not know the step."""
        raise TypeError("The size of MultiScale depends on the step: use what `at_step` returns.")


class RandomHorizontalFlip(Transform):
    """Mirror left and right with a probability."""

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = check_fraction("RandomHorizontalFlip: probability", probability)

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Flip image and boxes, or neither."""
        if random.random() >= self.probability:
            return sample
        width = sample.image.shape[1]
        return move(sample, cv2.flip(sample.image, 1), scale=(-1.0, 1.0), offset=(width, 0.0))


class RandomVerticalFlip(Transform):
    """Mirror top and bottom with a probability; for images without an upright direction."""

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = check_fraction("RandomVerticalFlip: probability", probability)

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Flip image and boxes, or neither."""
        if random.random() >= self.probability:
            return sample
        height = sample.image.shape[0]
        return move(sample, cv2.flip(sample.image, 0), scale=(1.0, -1.0), offset=(0.0, height))


def resize(sample: Sample, height: int, width: int) -> Sample:
    """The image at another size, and its objects with it."""
    old_height, old_width = sample.image.shape[:2]
    if (height, width) == (old_height, old_width):
        return sample
    image = np.empty((height, width, 3), dtype=np.uint8)
    resize_pixels(sample.image, image)
    return move(sample, image, scale=(width / old_width, height / old_height))


def resize_pixels(source: np.ndarray, target: np.ndarray) -> None:
    """Fill an image, or a part of one, with another."""
    (old_height, old_width), (height, width) = source.shape[:2], target.shape[:2]
    if (old_height, old_width) == (height, width):
        target[:] = source
        return
    # Linear interpolation looks at 2 x 2 pixels only: beyond a factor of 2 it would skip some.
    shrinks = old_height > 2 * height or old_width > 2 * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    cv2.resize(source, (width, height), dst=target, interpolation=method)


def scaled_size(sample: Sample, ratio: float) -> tuple[int, int]:
    """Height and width of an image times a factor; at least a pixel."""
    height, width = sample.image.shape[:2]
    return max(round(height * ratio), 1), max(round(width * ratio), 1)


def check_range(name: str, values: tuple[float, float]) -> tuple[float, float]:
    """The values, if they are a range of factors.

    Raises:
        UserError: otherwise; `name` says of what.
    """
    if len(values) != 2 or not 0 < values[0] <= values[1]:
        raise UserError(f"{name} = {values} must be a least and a largest factor, both above 0.")
    return values[0], values[1]
