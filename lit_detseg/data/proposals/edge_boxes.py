"""Edge Boxes (Zitnick and Dollar, ECCV 2014), on edges that are not learned.

A box is the more promising the more edges lie wholly inside it: those that cross its border count
against it. The paper finds edges with structured forests, a model that was trained on outlines
drawn by people; OpenCV has the algorithm, but not the model. Here the edges are the ridges of the
smoothed image's gradient: they follow texture as well as outlines, so where the paper needs few
boxes this needs more. On blood cells (BCCD, see `lit_detseg propose`) they do well all the same.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import cv2
import numpy as np

from lit_detseg.data.proposals.method import inside_image, require_ximgproc
from lit_detseg.errors import UserError

# A gradient larger than that of all but this share of the edge pixels is an edge for certain.
CERTAIN_SHARE = 0.01
LEAST_CONTRAST = 1.0  # grey levels per pixel: an image of less is all noise
LONGEST_SIDE = 1000  # pixels; larger images are scaled down, where the paper takes any size
SOBEL_WEIGHT = 8.0  # of the 3 x 3 kernel: grey levels per pixel are the sum divided by it


@dataclass(frozen=True)
class EdgeBoxes:
    """Boxes that hold many edges and cut few.

    Step of the sliding window, suppression of overlapping boxes and all else are OpenCV's values,
    which are the paper's.

    Args:
        max_boxes: the best so many are kept.
        min_area: pixels; smaller boxes are not looked at.
        sigma: pixels, of the smoothing before the gradient.

    Raises:
        UserError: when an option is impossible, or OpenCV lacks the module.
    """

    name: ClassVar[str] = "edge_boxes"

    max_boxes: int = 2000
    min_area: int = 1000
    sigma: float = 3.0

    def __post_init__(self) -> None:
        require_ximgproc(self.name)
        if min(self.max_boxes, self.min_area) < 1 or self.sigma <= 0:
            raise UserError(
                f"edge_boxes: max_boxes = {self.max_boxes}, min_area = {self.min_area}, sigma = "
                f"{self.sigma}: all must be above 0."
            )

    @property
    def options(self) -> dict[str, Any]:
        """The arguments."""
        return asdict(self)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Search an image, (H, W, 3) uint8 RGB; see `ProposalMethod`."""
        height, width = image.shape[:2]
        ratio = LONGEST_SIDE / max(height, width)
        scaled = image
        if ratio < 1:
            size = max(round(width * ratio), 1), max(round(height * ratio), 1)
            scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        search = cv2.ximgproc.createEdgeBoxes(maxBoxes=self.max_boxes, minBoxArea=self.min_area)
        found, _ = search.getBoundingBoxes(*edges(scaled, self.sigma))
        # Rows x, y, width, height, counted from (1, 1); the pixel at x + width belongs to the box.
        rows = np.array(found, dtype=np.float64).reshape(-1, 4)
        boxes = np.concatenate([rows[:, :2] - 1, rows[:, :2] + rows[:, 2:]], axis=1)
        back = np.divide(image.shape[:2], scaled.shape[:2])[::-1]
        return inside_image(boxes * np.tile(back, 2), height, width)


def edges(image: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Edges one pixel thin: where the gradient is larger than on both of its sides.

    Args:
        image: (H, W, 3) uint8; of its colours, the one with the largest gradient counts.
        sigma: pixels, of the Gaussian that smooths it first.

    Returns:
        Two arrays, (H, W) float32: strength in [0, 1], and the direction across the edge in
        [0, pi), from x towards y.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
    by_colour = [cv2.Sobel(smooth, cv2.CV_32F, *axis) / SOBEL_WEIGHT for axis in ((1, 0), (0, 1))]
    strongest = np.hypot(*by_colour).argmax(axis=2)[..., None]
    dx, dy = (np.take_along_axis(part, strongest, axis=2)[..., 0] for part in by_colour)
    size = np.hypot(dx, dy)
    rows, columns = np.indices(size.shape, dtype=np.float32)
    across = [part / np.maximum(size, np.finfo(np.float32).tiny) for part in (dx, dy)]
    is_ridge = size > 0
    for side in (-1, 1):
        at = columns + side * across[0], rows + side * across[1]
        is_ridge &= size >= cv2.remap(size, *at, interpolation=cv2.INTER_LINEAR)
    certain = np.quantile(size[is_ridge], 1 - CERTAIN_SHARE) if is_ridge.any() else 0.0
    strength = np.where(is_ridge, size / max(certain, LEAST_CONTRAST), 0).clip(0, 1)
    direction = np.arctan2(dy, dx) % np.float32(np.pi)
    return strength.astype(np.float32), direction.astype(np.float32)
