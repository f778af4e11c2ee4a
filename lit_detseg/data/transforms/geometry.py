"""Resize and flip."""

import cv2
import numpy as np

from lit_detseg.data.transforms.base import Sample, Transform, move
from lit_detseg.structures import UserError


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
        return resize(sample, max(round(height * ratio), 1), max(round(width * ratio), 1))


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


class RandomHorizontalFlip(Transform):
    """Mirror left and right with a probability."""

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise UserError(f"RandomHorizontalFlip({probability}): give a number from 0 to 1.")
        self.probability = probability

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Flip image and boxes, or neither."""
        if random.random() >= self.probability:
            return sample
        width = sample.image.shape[1]
        return move(sample, cv2.flip(sample.image, 1), scale=(-1.0, 1.0), offset=(width, 0.0))


def resize(sample: Sample, height: int, width: int) -> Sample:
    """The image at another size, and its objects with it."""
    old_height, old_width = sample.image.shape[:2]
    if (height, width) == (old_height, old_width):
        return sample
    # Linear interpolation looks at 2 x 2 pixels only: beyond a factor of 2 it would skip some.
    shrinks = old_height > 2 * height or old_width > 2 * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = cv2.resize(sample.image, (width, height), interpolation=method)
    return move(sample, image, scale=(width / old_width, height / old_height))
