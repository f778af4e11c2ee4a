"""The class of each pixel as a PNG: what it has to be, and what it counts."""

import cv2
import numpy as np

from lit_detseg.data.packing.checks import Fault, Kind
from lit_detseg.structures import LabelMap

NO_CLASS = 255


def count_pixels(
    png: bytes, file: str, labels: LabelMap, height: int, width: int
) -> dict[int, int] | list[Fault]:
    """Pixels of each entry of the label map, or what is wrong with the PNG.

    Args:
        png: entries of `labels` as 8-bit grey values, 255 where there is none of them.
        file: the image's name, for messages.
        labels: the classes.
        height: of the image, pixels.
        width: likewise.
    """
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if png else None
    if pixels is None:
        detail = "the bytes are truncated, corrupt or not an image"
        return [Fault(Kind.UNREADABLE_LABELS, file, detail, "pixel classes")]
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        detail = f"{pixels.dtype} in {pixels.shape[2:] or 1} channels, not 8 bits of grey"
        return [Fault(Kind.UNREADABLE_LABELS, file, detail, "pixel classes")]
    if pixels.shape != (height, width):
        detail = f"{pixels.shape} but the image is {(height, width)} (height, width)"
        return [Fault(Kind.WRONG_LABELS_SIZE, file, detail, "pixel classes")]
    counts = np.bincount(pixels.ravel(), minlength=NO_CLASS + 1).tolist()
    unknown = [value for value in range(len(labels), NO_CLASS) if counts[value]]
    if unknown:
        known = f"the label map has 0 to {len(labels) - 1}, and {NO_CLASS} is none"
        return [
            Fault(
                Kind.UNKNOWN_PIXEL_CLASS,
                file,
                f"value {value} on {counts[value]} pixels; {known}",
                "pixel classes",
            )
            for value in unknown
        ]
    return {label: counts[label] for label in range(len(labels)) if counts[label]}
