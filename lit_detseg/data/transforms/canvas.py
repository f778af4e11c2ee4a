"""Images on canvases of a fixed size: what does not fit is cut off, what is left over is filled."""

from typing import NamedTuple

import numpy as np

from lit_detseg.data.transforms.base import Sample, Transform, move
from lit_detseg.data.transforms.geometry import check_range, resize_pixels, scaled_size
from lit_detseg.data.transforms.visible import check_fraction, cut_to_visible
from lit_detseg.structures import UserError

GREY = 128  # Darknet's 0.5


class Area(NamedTuple):
    """Whole pixels, XYXY."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """This part of an image, not a copy."""
        return image[self.top : self.bottom, self.left : self.right]

    @property
    def sides(self) -> tuple[int, int]:
        """Width and height."""
        return self.right - self.left, self.bottom - self.top


class Letterbox(Transform):
    """Resize until the image fits, keeping its aspect ratio, and put it into the middle.

    As Darknet does at test time (yolo_v2 and later; src/image.c, letterbox_image): the side that
    does not fill the canvas is rounded down, and so is the margin before it.

    Args:
        height: pixels of the canvas.
        width: likewise.
        fill: grey level of the margins; Darknet 128, ultralytics 114.
    """

    def __init__(self, height: int, width: int, fill: int = GREY) -> None:
        self.height, self.width, self.fill = check_canvas("Letterbox", height, width, fill)

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Resize once, into the middle of the canvas."""
        height, width = sample.image.shape[:2]
        if self.width * height < self.height * width:  # the width fills the canvas
            inner_width, inner_height = self.width, max(height * self.width // width, 1)
        else:
            inner_width, inner_height = max(width * self.height // height, 1), self.height
        left, top = (self.width - inner_width) // 2, (self.height - inner_height) // 2
        canvas = np.full((self.height, self.width, 3), self.fill, dtype=np.uint8)
        target = Area(left, top, left + inner_width, top + inner_height)
        return place(sample, Area(0, 0, width, height), canvas, target)


class LargeScaleJitter(Transform):
    """Resize by a random factor, then cut out or fill up to a fixed size.

    Simple Copy-Paste (arXiv:2012.07177, section 3 and figure 2; the authors' code in
    tensorflow/tpu): the factor is drawn uniformly, 1 being the size at which the image just fits;
    the part to keep is drawn uniformly too; what is missing to the right and below is grey. There
    the image is resized and then cut; here the part is cut out first, so that no pixel is
    computed in vain, and its sides are whole pixels of the original. Use a horizontal flip beside
    it, and put both before `CopyPaste`.

    Args:
        height: pixels of the canvas.
        width: likewise.
        least_scale: smallest factor.
        largest_scale: largest factor.
        fill: grey level to the right of and below a small image.
        least_visible_fraction: an object stays if this part of its area does; 0 in the paper.
    """

    def __init__(
        self,
        height: int,
        width: int,
        least_scale: float = 0.1,
        largest_scale: float = 2.0,
        fill: int = GREY,
        least_visible_fraction: float = 0.0,
    ) -> None:
        name = "LargeScaleJitter"
        self.height, self.width, self.fill = check_canvas(name, height, width, fill)
        self.scales = check_range(f"{name}: scales", (least_scale, largest_scale))
        self.least_visible_fraction = check_fraction(
            f"{name}: least_visible_fraction", least_visible_fraction
        )

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Cut, resize once, fill."""
        height, width = sample.image.shape[:2]
        ratio = random.uniform(*self.scales) * min(self.height / height, self.width / width)
        new_height, new_width = scaled_size(sample, ratio)
        top, bottom, inner_height = _part(height, new_height, self.height, random)
        left, right, inner_width = _part(width, new_width, self.width, random)
        canvas = np.empty((self.height, self.width, 3), dtype=np.uint8)
        canvas[inner_height:] = self.fill
        canvas[:inner_height, inner_width:] = self.fill
        source, target = Area(left, top, right, bottom), Area(0, 0, inner_width, inner_height)
        return cut_to_visible(place(sample, source, canvas, target), self.least_visible_fraction)


def place(sample: Sample, source: Area, canvas: np.ndarray, target: Area) -> Sample:
    """Draw a part of an image on a part of a canvas, and its objects with it.

    Where the part ends before the image does, the canvas has to end too: what is cut off may lie
    outside of the canvas, but not on it.

    Returns:
        All objects with their whole boxes.
    """
    resize_pixels(source.of(sample.image), target.of(canvas))
    (old_width, old_height), (width, height) = source.sides, target.sides
    scale = (width / old_width, height / old_height)
    offset = (target.left - source.left * scale[0], target.top - source.top * scale[1])
    return move(sample, canvas, scale, offset)


def check_canvas(name: str, height: int, width: int, fill: int) -> tuple[int, int, int]:
    """Height, width and grey level, if they are possible.

    Raises:
        UserError: otherwise; `name` is that of the transform.
    """
    if min(height, width) < 1 or not 0 <= fill <= 255:
        raise UserError(
            f"{name}(height={height}, width={width}, fill={fill}): both sides must be at least "
            "1 pixel, and the fill from 0 to 255."
        )
    return height, width, fill


def _part(
    length: int, resized: int, limit: int, random: np.random.Generator
) -> tuple[int, int, int]:
    """Start and end of what of a side to keep, and its length on the canvas."""
    if resized <= limit:
        return 0, length, resized
    kept = min(max(round(length * limit / resized), 1), length)
    start = int(random.integers(length - kept + 1))
    return start, start + kept, limit
