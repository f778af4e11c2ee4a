"""What the bytes of a shard depend on, as one number."""

import hashlib
from pathlib import Path
from typing import Any

from lit_detseg import __version__
from lit_detseg.data.packing.checks import Fault
from lit_detseg.data.packing.outcome import StoredSample
from lit_detseg.data.records import RawSample
from lit_detseg.structures import LabelMap


class InputDigest:
    """SHA-256 of what the bytes of a shard depend on.

    That is: this version of the code, the classes, all annotations, and each image file's size and
    time of change (or its bytes, where they are not in a file of their own).
    """

    def __init__(self, labels: LabelMap, clip: bool) -> None:
        self._sha256 = hashlib.sha256(repr((__version__, labels, clip)).encode())

    def add(self, sample: RawSample, faults: list[Fault]) -> None:
        """Go on with the next image."""
        if isinstance(sample, StoredSample) and sample.stored is not None:
            image: Any = sample.stored.data
        else:
            image = _state(sample.image) if isinstance(sample.image, Path) else sample.image
        pixels = sample.label_png
        for blob in (image, pixels):
            if isinstance(blob, bytes):
                self._sha256.update(len(blob).to_bytes(8))
                self._sha256.update(blob)
            else:
                self._sha256.update(repr(blob).encode())
        annotated = RawSample(
            sample.image_id,
            b"",
            sample.height,
            sample.width,
            sample.objects,
            sample.source_id,
            sample.file_name,
            sample.void,
        )
        self._sha256.update(repr((annotated, faults)).encode(errors="surrogatepass"))

    def hexdigest(self) -> str:
        """Of all images so far."""
        return self._sha256.hexdigest()


def _state(image: Path) -> tuple[int, int] | str:
    """What changes when an image file is replaced."""
    try:
        state = image.stat()
    except OSError as error:
        return type(error).__name__
    return state.st_size, state.st_mtime_ns
