"""What tells images apart: a hash of the file, one of the pixels, and one of how it looks.

The look is a difference hash: the image is averaged down to 9 x 8 grey pixels, and each of 64 bits
says whether a pixel is darker than its right neighbour. It survives scaling, re-encoding and small
changes of colour; the 9 x 8 pixels themselves tell apart what only shares the pattern.
"""

import hashlib

import cv2
import numpy as np

HASH_BYTES = 32
LOOK_HEIGHT, LOOK_WIDTH = 8, 9

# One image: 152 bytes.
FINGERPRINT = np.dtype(
    [
        ("sample", np.int64),  # its number in the set
        ("file", np.uint8, HASH_BYTES),  # SHA-256 of the encoded bytes
        ("pixels", np.uint8, HASH_BYTES),  # SHA-256 of height, width and RGB values
        ("pattern", np.uint64),  # the difference hash
        ("look", np.uint8, LOOK_HEIGHT * LOOK_WIDTH),
    ]
)


def fingerprint(sample: int, data: bytes, pixels: np.ndarray) -> np.ndarray:
    """The fingerprint of an image, shape (1,) of `FINGERPRINT`.

    Args:
        sample: its number.
        data: the encoded bytes.
        pixels: (H, W, 3) uint8 RGB.
    """
    of_pixels = hashlib.sha256(np.array(pixels.shape, np.int64).tobytes())
    of_pixels.update(np.ascontiguousarray(pixels).data)
    look = _look(pixels)
    row = np.zeros(1, FINGERPRINT)
    row["sample"] = sample
    row["file"] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    row["pixels"] = np.frombuffer(of_pixels.digest(), np.uint8)
    row["pattern"] = np.packbits(look[:, :-1] < look[:, 1:]).view(np.uint64)
    row["look"] = look.ravel()
    return row


def _look(pixels: np.ndarray) -> np.ndarray:
    """The image as (8, 9) uint8 grey values."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return cv2.resize(grey, (LOOK_WIDTH, LOOK_HEIGHT), interpolation=cv2.INTER_AREA)
