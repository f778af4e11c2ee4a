"""Encoded images: what shards may hold, and the one way to decode it.

Stored as they came are 8-bit JPEG (RGB, grey) and PNG (RGB, grey, palette, with alpha or not):
every decoder agrees on them. All else becomes an RGB PNG, without loss, so that any reader of the
shards sees the pixels that we see.
"""

import io
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

try:
    import simplejpeg
except ImportError:  # no wheel for every machine: OpenCV gives the same pixels, a little later
    simplejpeg = None

EXIF_ORIENTATION = 0x0112
UPRIGHT = 1  # the orientation of an image that needs no turning
SIDEWAYS = (5, 6, 7, 8)  # the orientations that swap height and width
JPEG_FORMATS = ("JPEG", "MPO")  # MPO: a JPEG with further pictures behind it
JPEG_START = b"\xff\xd8\xff"
PNG_BIT_DEPTH = 24  # byte of the file: after the signature, IHDR's length and name, two sizes


class EncodedImage(NamedTuple):
    """An image as a shard holds it."""

    data: bytes
    suffix: str  # jpg or png
    height: int  # pixels, as `decode` gives them
    width: int


def decode(data: bytes) -> np.ndarray:
    """Pixels of a stored image, (H, W, 3) uint8 RGB; alpha and EXIF orientation are ignored.

    The values are those of `PIL.Image.convert("RGB")`, up to one level. Damage in the middle of a
    JPEG is refused where its decoder notices, which is the case for about every second wrong byte;
    without simplejpeg it is not. Shards have checksums for the rest.

    Raises:
        ValueError: when the bytes are not an image, end too early or are damaged.
    """
    if not data:
        raise ValueError("the file is empty")
    if simplejpeg is not None and data.startswith(JPEG_START):
        return simplejpeg.decode_jpeg(data, strict=True)
    return _decode_by_opencv(data)


def _decode_by_opencv(data: bytes) -> np.ndarray:
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("the bytes are truncated, corrupt or not an image")
    return pixels


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes()


def normalise(data: bytes, annotated_size: tuple[int, int] | None) -> EncodedImage:
    """Check that an image decodes to its end, and give the form that a shard holds.

    An EXIF orientation is obeyed when only the turned image has the annotated (height, width),
    ignored when only the stored one has it. When that cannot tell (no size annotated, a square, an
    image upside down) the image is turned: annotators saw it upright.

    Raises:
        ValueError: when the image cannot be decoded; says why.
    """
    picture = _load(data)
    turn = _must_turn(picture, annotated_size)
    plain = not turn and _is_plain(picture, data)
    if plain or picture.format in JPEG_FORMATS:
        decode(data)  # refuses damaged JPEGs that PIL fills with grey
    if plain:
        suffix = "png" if picture.format == "PNG" else "jpg"
        return EncodedImage(data, suffix, picture.height, picture.width)
    pixels = _to_rgb(ImageOps.exif_transpose(picture) if turn else picture)
    return EncodedImage(encode_png(pixels), "png", *pixels.shape[:2])


def _load(data: bytes) -> Image.Image:
    """Decode with PIL, which refuses truncated files that OpenCV may fill with grey."""
    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
    except UnidentifiedImageError:
        reason = "in no known image format, or cut off in its header" if data else "empty"
        raise ValueError(f"the file is {reason}") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    return picture


def _must_turn(picture: Image.Image, annotated_size: tuple[int, int] | None) -> bool:
    """Whether the image has to be turned by its EXIF orientation."""
    orientation = picture.getexif().get(EXIF_ORIENTATION, UPRIGHT)
    if orientation not in range(UPRIGHT + 1, 9):
        return False
    stored = (picture.height, picture.width)
    turned = stored[::-1] if orientation in SIDEWAYS else stored
    return annotated_size is None or annotated_size == turned or annotated_size != stored


def _is_plain(picture: Image.Image, data: bytes) -> bool:
    """Whether every decoder reads the same pixels from these bytes."""
    if picture.format in JPEG_FORMATS:
        return picture.mode in ("RGB", "L")
    return (
        picture.format == "PNG"
        and data[PNG_BIT_DEPTH] == 8
        and not getattr(picture, "is_animated", False)
    )


def _to_rgb(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8; 16-bit values keep their high byte."""
    if picture.mode == "F":
        raise ValueError("pixels are floating-point numbers: convert the image to 8 bits")
    if picture.mode.startswith("I"):  # 16-bit grey; PIL's own conversion would clip it at 255
        picture = Image.fromarray((np.asarray(picture) >> 8).clip(0, 255).astype(np.uint8))
    return np.array(picture.convert("RGB"))
