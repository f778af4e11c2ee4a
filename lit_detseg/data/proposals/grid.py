"""Regular boxes that look at no pixel: what any method has to beat."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from lit_detseg.data.proposals.method import inside_image
from lit_detseg.errors import UserError

ASPECT_RATIOS = (0.5, 1.0, 2.0)  # height / width


@dataclass(frozen=True)
class Grid:
    """Boxes of several sizes and three aspect ratios, each half covered by the next.

    The first ones are the largest: their area is that of the image. With each level the sides are
    halved. Boxes that would be longer than the image are as long as it.

    Args:
        levels: sizes of boxes.

    Raises:
        UserError: when there are none.
    """

    name: ClassVar[str] = "grid"

    levels: int = 5

    def __post_init__(self) -> None:
        if self.levels < 1:
            raise UserError(f"grid: levels = {self.levels} must be at least 1.")

    @property
    def options(self) -> dict[str, Any]:
        """The arguments."""
        return asdict(self)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The boxes of an image, (H, W, 3) uint8 RGB; see `ProposalMethod`."""
        height, width = image.shape[:2]
        boxes = np.concatenate(list(self._of_each_size(height, width)))
        return inside_image(boxes, height, width)

    def _of_each_size(self, height: int, width: int) -> Iterator[np.ndarray]:
        for level in range(self.levels):
            side = math.sqrt(height * width) / 2**level
            for aspect_ratio in ASPECT_RATIOS:
                box_height = min(side * math.sqrt(aspect_ratio), height)
                box_width = min(side / math.sqrt(aspect_ratio), width)
                top, left = np.meshgrid(
                    _starts(height, box_height), _starts(width, box_width), indexing="ij"
                )
                corner = np.stack([left.ravel(), top.ravel()], axis=1)
                yield np.concatenate([corner, corner + [box_width, box_height]], axis=1)


def _starts(length: int, part: float) -> np.ndarray:
    """Where parts of a length begin that cover it, each at most half a part behind the last."""
    steps = math.ceil((length - part) / (part / 2))
    return np.linspace(0, length - part, steps + 1)
