"""Four images around a point."""

from collections.abc import Callable, Sequence

import numpy as np

from lit_detseg.data.transforms.base import MixingTransform, Sample
from lit_detseg.data.transforms.canvas import Area, check_canvas, place
from lit_detseg.data.transforms.geometry import check_range, scaled_size
from lit_detseg.data.transforms.visible import check_fraction, cut_to_visible

# Which corner of a tile touches the centre: left or right of it, above or below.
QUARTERS = ((True, True), (False, True), (True, False), (False, False))


class Mosaic(MixingTransform):
    """Four images that meet in one point, each with a corner of its own.

    YOLOv4 (arXiv:2004.10934, section 3.3), in the geometry of ultralytics: all four are resized
    until they fit the canvas, then by a common random factor; the point where they meet is drawn
    uniformly from the canvas times that factor, around its middle; what reaches beyond is cut
    off, what nothing covers is grey. (ultralytics draws twice the canvas first and resizes it
    again, moving it by up to a tenth; AlexeyAB's Darknet cuts four crops at a point between 0.2
    and 0.8 of each side, without gaps.) Here each visible part
    is cut out and resized once, straight into its place, and an image that would not be seen is
    not read.

    Args:
        height: pixels of the canvas.
        width: likewise.
        least_scale: smallest factor; ultralytics' `scale: 0.5` is 0.5 to 1.5.
        largest_scale: largest factor.
        fill: grey level of what nothing covers.
        probability: of mixing at all; otherwise the image stays as it is, at its own size.
        least_visible_fraction: an object stays if this part of its area does (ultralytics: 0.1).
    """

    def __init__(
        self,
        height: int,
        width: int,
        least_scale: float = 0.5,
        largest_scale: float = 1.5,
        fill: int = 114,
        probability: float = 1.0,
        least_visible_fraction: float = 0.1,
    ) -> None:
        super().__init__(companions=3)
        self.height, self.width, self.fill = check_canvas("Mosaic", height, width, fill)
        self.scales = check_range("Mosaic: scales", (least_scale, largest_scale))
        self.probability = check_fraction("Mosaic: probability", probability)
        self.least_visible_fraction = check_fraction(
            "Mosaic: least_visible_fraction", least_visible_fraction
        )

    def mix(
        self,
        sample: Sample,
        companions: Sequence[Callable[[], Sample]],
        random: np.random.Generator,
    ) -> Sample:
        """The sample above and to the left of the point, the companions around it."""
        if random.random() >= self.probability:
            return sample
        scale = random.uniform(*self.scales)
        across, down = 0.5 + scale * random.uniform(-0.5, 0.5, size=2)
        centre = (round(self.width * across), round(self.height * down))
        canvas = np.full((self.height, self.width, 3), self.fill, dtype=np.uint8)
        tiles = [
            self._tile(read, canvas, centre, scale, quarter)
            for read, quarter in zip([lambda: sample, *companions], QUARTERS, strict=True)
        ]
        seen = [tile for tile in tiles if tile is not None]
        mixed = Sample(
            canvas,
            np.concatenate([np.zeros((0, 4)), *(tile.boxes for tile in seen)]),
            tuple(item for tile in seen for item in tile.items),
            np.concatenate([np.zeros((0, 4)), *(tile.placements for tile in seen)]),
            np.concatenate([np.zeros((0, 4)), *(tile.windows for tile in seen)]),
        )
        return cut_to_visible(mixed, self.least_visible_fraction)

    def _tile(
        self,
        read: Callable[[], Sample],
        canvas: np.ndarray,
        centre: tuple[int, int],
        scale: float,
        quarter: tuple[bool, bool],
    ) -> Sample | None:
        """Draw one image; None where its quarter lies outside of the canvas."""
        limits = (self.width, self.height)
        for at, limit, before in zip(centre, limits, quarter, strict=True):
            if (before and at <= 0) or (not before and at >= limit):
                return None
        sample = read()
        height, width = sample.image.shape[:2]
        ratio = scale * min(self.height / height, self.width / width)
        new_height, new_width = scaled_size(sample, ratio)
        across = _part(centre[0], quarter[0], width, new_width, self.width)
        down = _part(centre[1], quarter[1], height, new_height, self.height)
        if across is None or down is None:
            return None
        (left, right, to_left, to_right), (top, bottom, to_top, to_bottom) = across, down
        target = Area(to_left, to_top, to_right, to_bottom)
        return place(sample, Area(left, top, right, bottom), canvas, target)


def _part(
    centre: int, before: bool, length: int, resized: int, limit: int
) -> tuple[int, int, int, int] | None:
    """Start and end of the visible part of a side, in the image and on the canvas, if any."""
    origin = centre - resized if before else centre
    to_start, to_end = max(origin, 0), min(origin + resized, limit)
    if to_start >= to_end:
        return None
    start = min(round((to_start - origin) * length / resized), length - 1)
    end = max(round((to_end - origin) * length / resized), start + 1)
    return start, end, to_start, to_end
