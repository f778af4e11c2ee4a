"""One image of a raw data set: read, decode and check it."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lit_detseg.data.images import EncodedImage, normalise
from lit_detseg.data.packing.checks import (
    WHOLE_IMAGE,
    Checked,
    Fault,
    Kind,
    check_objects,
    void_fault,
)
from lit_detseg.data.packing.label_png import count_pixels
from lit_detseg.data.records import RawSample, Record
from lit_detseg.structures import LabelMap


@dataclass(frozen=True)
class StoredSample(RawSample):
    """A sample whose image already has the form that shards hold, and is packed as it is."""

    stored: EncodedImage | None = None


class PixelClasses(NamedTuple):
    """The class of each pixel of an image."""

    png: bytes
    counts: dict[int, int]  # pixels of each label that occurs


class Outcome(NamedTuple):
    """What became of one image of the input."""

    record: Record
    image: EncodedImage | None  # None: the image is left out
    pixels: PixelClasses | None  # None: left out, or not annotated
    faults: list[Fault]
    clipped: list[Fault]
    objects_read: int


def check_sample(sample: RawSample, faults: list[Fault], labels: LabelMap, clip: bool) -> Outcome:
    """Read, decode and check one image.

    Args:
        sample: as a reader gives it.
        faults: those that the reader found on it.
        labels: the classes.
        clip: whether boxes are cut at the border, not left out.
    """
    objects_read = len(sample.objects) + sum(fault.kind not in WHOLE_IMAGE for fault in faults)
    image: EncodedImage | None = None
    pixels: PixelClasses | None = None
    size = (0, 0)
    try:
        image = _encoded(sample)
    except ValueError as error:
        checked = Checked((), [Fault(Kind.UNREADABLE_IMAGE, sample.file_name, str(error))], [])
    else:
        size = (image.height, image.width)
        checked, pixels = _check(sample, labels, size, clip)
    faults, clipped = faults + checked.faults, checked.clipped
    if any(fault.kind in WHOLE_IMAGE for fault in faults):
        image, pixels, clipped = None, None, []
    record = Record(
        sample.image_id, *size, checked.objects, sample.source_id, sample.file_name, sample.void
    )
    return Outcome(record, image, pixels, faults, clipped, objects_read)


def _encoded(sample: RawSample) -> EncodedImage:
    if isinstance(sample, StoredSample) and sample.stored is not None:
        return sample.stored
    return normalise(_bytes(sample.image), _annotated_size(sample))


def _check(
    sample: RawSample, labels: LabelMap, size: tuple[int, int], clip: bool
) -> tuple[Checked, PixelClasses | None]:
    """Everything annotated, against the size of the decoded image."""
    if _annotated_size(sample) not in (None, size):
        detail = f"annotated {_annotated_size(sample)} but decoded {size} (height, width)"
        return Checked((), [Fault(Kind.WRONG_IMAGE_SIZE, sample.file_name, detail)], []), None
    checked = check_objects(sample, labels, *size, clip=clip)
    void = void_fault(sample.void, sample.file_name, *size)
    if void is not None:
        checked.faults.append(void)
    if sample.label_png is None:
        return checked, None
    counts = count_pixels(sample.label_png, sample.file_name, labels, *size)
    if isinstance(counts, list):
        checked.faults.extend(counts)
        return checked, None
    return checked, PixelClasses(sample.label_png, counts)


def _annotated_size(sample: RawSample) -> tuple[int, int] | None:
    if sample.height is None or sample.width is None:
        return None
    return sample.height, sample.width


def _bytes(image: Path | bytes) -> bytes:
    """The encoded image; only errors that will not go away by themselves make it a bad row."""
    if isinstance(image, bytes):
        return image
    try:
        return image.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise ValueError(error.strerror) from error
