"""What proposes boxes: from the pixels of an image alone, the most promising box first.

Boxes are XYXY in pixels of the original image and cover the area from x1 to x2, so that the first
pixel is [0, 0, 1, 1].
"""

from typing import Any, ClassVar, Protocol

import cv2
import numpy as np

from lit_detseg.errors import UserError


class ProposalMethod(Protocol):
    """A way to propose boxes. Its answer depends on the image and on its options alone."""

    name: ClassVar[str]

    @property
    def options(self) -> dict[str, Any]:
        """What the boxes depend on, besides the image, as JSON can hold it."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Propose boxes.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (P, 4) float32, none of them twice, inside the image; P may be 0.
        """


def inside_image(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes cut at the border of an image, without those of no area and those that stand twice.

    Args:
        boxes: (P, 4) of any number type; the first of equal ones stays, in its place.
        height: pixels.
        width: pixels.

    Returns:
        (Q, 4) float32, Q <= P.
    """
    limits = np.array([width, height, width, height], dtype=np.float32)
    cut = boxes.reshape(-1, 4).astype(np.float32).clip(0, limits)
    cut = cut[(cut[:, 2:] > cut[:, :2]).all(axis=1)]
    _, first = np.unique(cut, axis=0, return_index=True)
    return cut[np.sort(first)]


def require_ximgproc(name: str) -> None:
    """Find out whether this OpenCV has its extra modules.

    Raises:
        UserError: when it has not; `name` is that of the method.
    """
    if not hasattr(cv2, "ximgproc"):
        raise UserError(
            f"{name} needs cv2.ximgproc, which this OpenCV ({cv2.__version__}) comes without. "
            "Remove all packages of OpenCV (`pip uninstall opencv-python opencv-python-headless`), "
            "then `pip install opencv-contrib-python-headless`."
        )
