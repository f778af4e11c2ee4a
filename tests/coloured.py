"""Pictures in which every thing has a colour of its own, so that `ColourDetector` finds it."""

from typing import NamedTuple

import numpy as np

LEVELS = (0, 127, 255)  # of each channel; all 0 is the background
CODES = range(1, 27)


class Thing(NamedTuple):
    """What is left visible of it."""

    label: int
    mask: np.ndarray  # (H, W) bool

    @property
    def box(self) -> list[int]:
        rows, columns = np.flatnonzero(self.mask.any(1)), np.flatnonzero(self.mask.any(0))
        return [int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)]


def coloured_picture(seed, size, num_classes, least=6):
    """(H, W, 3) uint8 RGB and its things: rectangles and ellipses over each other."""
    generator = np.random.default_rng(seed)
    height, width = size
    owner = np.zeros(size, dtype=int)
    y, x = np.mgrid[:height, :width]
    for code in generator.choice(CODES, generator.integers(0, 8), replace=False):
        center_y, center_x = generator.random(2) * size
        half_y, half_x = generator.integers(least, min(size) // 3, 2)
        inside = (abs(y - center_y) < half_y) & (abs(x - center_x) < half_x)
        if generator.random() < 0.5:
            inside = ((y - center_y) / half_y) ** 2 + ((x - center_x) / half_x) ** 2 < 1
        owner[inside] = code
    pixels = np.array(LEVELS, np.uint8)[np.stack([owner // 9, owner // 3 % 3, owner % 3], axis=-1)]
    codes, counts = np.unique(owner[owner > 0], return_counts=True)
    kept = [code for code, count in zip(codes.tolist(), counts, strict=True) if count >= 30]
    return pixels, [Thing(code % num_classes, owner == code) for code in kept]
