"""Selective search (Uijlings et al., IJCV 2013), as R-CNN runs it (arXiv:1311.2524, section 2.1).

The image is cut into small segments (Felzenszwalb and Huttenlocher), then the two neighbours that
are most alike become one, again and again; the box around each segment that was ever there is a
proposal. This is done for several colour spaces, sizes of the first segments and notions of
likeness, and all boxes are put together.

The parameters are those of R-CNN's code (rbgirshick/rcnn, selective_search_boxes.m), the algorithm
is OpenCV's. OpenCV's own presets start from segments that are coarser (k = 150, 300, ... and at
least 100 pixels each): half the proposals, in the same time, and fewer objects found.
"""

import ctypes
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, get_args

import cv2
import numpy as np

from lit_detseg.data.proposals.method import inside_image, require_ximgproc
from lit_detseg.errors import UserError

Mode = Literal["fast", "quality"]

# Of the first segmentation: the larger, the larger its segments; also their least area, in pixels.
KS: dict[Mode, tuple[int, ...]] = {"fast": (50, 100), "quality": (50, 100, 150, 300)}
SIGMA = 0.8  # of the smoothing before it, pixels
# An image that is higher than this many times its width is scaled less. Time grows with the square
# of the number of segments: R-CNN's scale would make 5 megapixels of a strip of 50 x 1000 pixels.
HIGHEST = 2
SEED = 0


@dataclass(frozen=True)
class SelectiveSearch:
    """Boxes around all segments of a hierarchy of segmentations.

    OpenCV ranks the segments by a random number times their level, small segments being of low
    level; the paper counts levels from the other end, so that large ones tend to come first. Both
    do so to mix the hierarchies, of which each has an order of its own. R-CNN uses all boxes.

    Args:
        mode: `fast` is HSV and Lab, 2 likenesses and 2 segmentations: 8 hierarchies; `quality` is
            5 colour spaces, 4 likenesses and 4 segmentations: 80.
        width: pixels that the image is scaled to first; 500 in R-CNN.
        min_side: pixels of the scaled image; boxes with a shorter side are left out.

    Raises:
        UserError: when an option is impossible, or OpenCV lacks the module.
    """

    name: ClassVar[str] = "selective_search"

    mode: Mode = "fast"
    width: int = 500
    min_side: int = 20

    def __post_init__(self) -> None:
        require_ximgproc(self.name)
        if self.mode not in get_args(Mode) or self.width < 1 or self.min_side < 1:
            raise UserError(
                f"selective_search: mode = {self.mode!r}, width = {self.width}, min_side = "
                f"{self.min_side}: use one of {', '.join(get_args(Mode))}, and at least 1 pixel."
            )

    @property
    def options(self) -> dict[str, Any]:
        """The arguments."""
        return asdict(self)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Search an image, (H, W, 3) uint8 RGB; see `ProposalMethod`."""
        scaled = self._scaled(image)
        search = self._search(scaled)
        ctypes.CDLL(None).srand(SEED)  # of the random ranks: OpenCV takes the C library's `rand`
        rows = np.array(search.process(), dtype=np.float64).reshape(-1, 4)  # x, y, width, height
        rows = rows[(rows[:, 2:] >= self.min_side).all(axis=1)]
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=1)
        ratio = np.divide(image.shape[:2], scaled.shape[:2])[::-1]
        return inside_image(boxes * np.tile(ratio, 2), *image.shape[:2])

    def _scaled(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        ratio = min(self.width / width, HIGHEST * self.width / height)
        size = max(round(width * ratio), 1), max(round(height * ratio), 1)
        if size == (width, height):
            return image
        method = cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC  # as MATLAB's imresize
        return cv2.resize(image, size, interpolation=method)

    def _search(self, image: np.ndarray) -> Any:
        """A new search of an image: OpenCV's objects keep what they have seen of the last one."""
        parts = cv2.ximgproc.segmentation
        search = parts.createSelectiveSearchSegmentation()
        for view in _colours(image)[: 2 if self.mode == "fast" else None]:
            search.addImage(view)
        for k in KS[self.mode]:
            segmentation = parts.createGraphSegmentation(SIGMA, k, k)
            search.addGraphSegmentation(segmentation)
        for likeness in _likenesses()[: 2 if self.mode == "fast" else None]:
            search.addStrategy(likeness)
        return search


def _colours(image: np.ndarray) -> list[np.ndarray]:
    """HSV, Lab, rgI (shares of red and green, intensity), hue, intensity; from 0 to 255 each."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    intensity = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    total = image.sum(axis=2, dtype=np.float32).clip(1)
    shares = np.round(image[..., :2] / total[..., None] * 255).astype(np.uint8)
    return [
        hsv,
        cv2.cvtColor(image, cv2.COLOR_RGB2Lab),
        np.dstack([shares, intensity]),
        np.ascontiguousarray(hsv[..., 0]),
        intensity,
    ]


def _likenesses() -> list[Any]:
    """Colour + texture + size + fill, texture + size + fill, fill, size."""
    parts = cv2.ximgproc.segmentation
    combined = parts.createSelectiveSearchSegmentationStrategyMultiple
    colour = parts.createSelectiveSearchSegmentationStrategyColor
    texture = parts.createSelectiveSearchSegmentationStrategyTexture
    size = parts.createSelectiveSearchSegmentationStrategySize
    fill = parts.createSelectiveSearchSegmentationStrategyFill
    return [
        combined(colour(), texture(), size(), fill()),
        combined(texture(), size(), fill()),
        fill(),
        size(),
    ]
