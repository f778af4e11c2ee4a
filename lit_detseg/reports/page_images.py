"""The image files of a page: as stored where they are small and safe, otherwise made smaller."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from lit_detseg.data.images import EXIF_ORIENTATION, JPEG_START, UPRIGHT
from lit_detseg.structures import LabelMap

JPEG_QUALITY = 82
PNG_START = b"\x89PNG"
GOLDEN_ANGLE = 137.508  # degrees; hues of neighbouring labels are far from each other
TONES = ((0.72, 0.55), (0.62, 0.45), (0.80, 0.66))  # saturation and lightness, in turn
NO_CLASS = 255  # in a label map


def class_colours(label_map: LabelMap) -> list[tuple[int, int, int]]:
    """A colour for each class, which depends on its label only: RGB, 0 to 255."""
    return [_colour(label) for label in range(len(label_map))]


def write_stored(data: bytes, pixels: np.ndarray, side: int, path: Path) -> str:
    """Write an image of the set, as it is or smaller.

    Files with an orientation, a palette or transparency are written anew: a browser would obey
    what the decoder ignores.

    Args:
        data: the file in the shard.
        pixels: what it decodes to, (H, W, 3) uint8.
        side: pixels of the longer side of what is written, at most.
        path: where to write it, without a suffix.

    Returns:
        The file's name.
    """
    if max(pixels.shape[:2]) > side or not _is_plain(data):
        return write_pixels(pixels, side, path)
    suffix = ".jpg" if data.startswith(JPEG_START) else ".png"
    file = path.with_name(path.name + suffix)
    file.write_bytes(data)
    return file.name


def write_pixels(pixels: np.ndarray, side: int, path: Path) -> str:
    """Write (H, W, 3) uint8 pixels as JPEG, made smaller if need be; returns the file's name."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = path.with_name(f"{path.name}.jpg")
    subsampling = "4:2:0" if max(picture.size) > 256 else "4:4:4"
    picture.save(file, quality=JPEG_QUALITY, subsampling=subsampling, optimize=True)
    return file.name


def write_classes(
    label: np.ndarray, colours: list[tuple[int, int, int]], side: int, path: Path
) -> str:
    """Write the classes of all pixels, (H, W) uint8, as a coloured PNG; returns its name."""
    picture = Image.fromarray(label, mode="L")
    picture.thumbnail((side, side), Image.Resampling.NEAREST)
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[: len(colours)] = np.array(colours, dtype=np.uint8).reshape(-1, 3)[:256]
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette(palette.tobytes())
    file = path.with_name(f"{path.name}.png")
    picture.save(file, transparency=NO_CLASS, optimize=True)
    return file.name


def _is_plain(data: bytes) -> bool:
    """Whether a browser shows the very pixels that the decoder gives."""
    if not data.startswith((JPEG_START, PNG_START)):
        return False
    picture = Image.open(io.BytesIO(data))
    upright = picture.getexif().get(EXIF_ORIENTATION, UPRIGHT) == UPRIGHT
    opaque = picture.mode in ("RGB", "L") and "transparency" not in picture.info
    return upright and opaque and "icc_profile" not in picture.info


def _colour(label: int) -> tuple[int, int, int]:
    hue = label * GOLDEN_ANGLE + 10
    saturation, lightness = TONES[label % len(TONES)]
    spread = saturation * min(lightness, 1 - lightness)
    channels = []
    for start in (0, 8, 4):
        place = (start + hue / 30) % 12
        channels.append(lightness - spread * max(-1.0, min(place - 3, 9 - place, 1)))
    red, green, blue = (round(255 * channel) for channel in channels)
    return red, green, blue
