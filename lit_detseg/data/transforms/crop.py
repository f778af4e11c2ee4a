"""Random parts of images, with labels for what they show and nothing else."""

import numpy as np

from lit_detseg.data.transforms.base import Sample, Transform, move
from lit_detseg.data.transforms.visible import check_fraction, cut_to_visible
from lit_detseg.structures import UserError


class RandomCrop(Transform):
    """Cut out a rectangle of a fixed size, or of a random share of each side.

    Boxes are cut to what is visible of their objects, see `cut_to_visible`; objects of which less
    than `least_visible_fraction` is left are removed. (detectron2's RandomCrop keeps every object
    of which a sliver is left, with the clipped box.)

    Args:
        size: height and width in pixels; an image that is smaller stays whole.
        fractions: least and largest part of each side to keep, in (0, 1]; the two sides are drawn
            independently of each other.
        keep_object: put the rectangle where one object, drawn from those that fit into it, is
            whole; where none fits, around the middle of one that does not. Images without objects
            are cut anywhere.
        least_visible_fraction: of an object's area, for it to stay.

    Raises:
        UserError: unless exactly one of `size` and `fractions` is given.
    """

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        fractions: tuple[float, float] | None = None,
        keep_object: bool = False,
        least_visible_fraction: float = 0.1,
    ) -> None:
        if (size is None) == (fractions is None):
            raise UserError("RandomCrop: give either size or fractions.")
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise UserError(f"RandomCrop(size={size}): give a height and a width of at least 1.")
        if fractions is not None and not 0 < fractions[0] <= fractions[1] <= 1:
            raise UserError(f"RandomCrop(fractions={fractions}): give 0 < least <= largest <= 1.")
        self.size = size
        self.fractions = fractions
        self.keep_object = keep_object
        self.least_visible_fraction = check_fraction(
            "RandomCrop: least_visible_fraction", least_visible_fraction
        )

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Draw a rectangle and cut it out."""
        sides = np.array(sample.image.shape[1::-1])  # width, height
        if self.size is not None:
            kept = np.minimum(self.size[::-1], sides)
        else:
            assert self.fractions is not None
            kept = np.maximum(np.round(sides * random.uniform(*self.fractions, size=2)), 1)
        kept = kept.astype(np.int64)
        first, last = np.zeros(2, dtype=np.int64), sides - kept
        if self.keep_object and len(sample.boxes):
            first, last = _around_an_object(sample.boxes, sides, kept, random)
        left, top = random.integers(first, last + 1).tolist()
        width, height = kept.tolist()
        image = sample.image[top : top + height, left : left + width]
        moved = move(sample, image, offset=(-left, -top))
        return cut_to_visible(moved, self.least_visible_fraction)


def _around_an_object(
    boxes: np.ndarray, sides: np.ndarray, kept: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last corner of a rectangle that shows a drawn object; (x, y) each."""
    begins = np.floor(boxes[:, :2]).clip(0, sides - 1)
    ends = np.ceil(boxes[:, 2:]).clip(begins + 1, sides)
    fits = np.flatnonzero((ends - begins <= kept).all(axis=1))
    number = random.choice(fits) if len(fits) else random.integers(len(boxes))
    begin, end = begins[number], ends[number]
    middle = np.floor((begin + end) / 2)
    too_long = end - begin > kept
    begin, end = np.where(too_long, middle, begin), np.where(too_long, middle + 1, end)
    first = np.maximum(end - kept, 0).astype(np.int64)
    return first, np.minimum(begin, sides - kept).astype(np.int64)
