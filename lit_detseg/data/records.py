"""The one canonical record: what every reader makes and every shard holds.

Boxes are XYXY in pixels of the original image and cover the area from x1 to x2, so that the first
pixel is [0, 0, 1, 1]. Readers translate their data set's own convention (COCO's XYWH, VOC's
1-based inclusive corners) into this one, and change nothing else: what was annotated is stored.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A mask as annotated: polygons [[x, y, x, y, ...], ...] or a compressed RLE
# {"size": [height, width], "counts": "..."}, as in COCO.
Mask = list[list[float]] | dict[str, Any]


@dataclass(frozen=True)
class Object:
    """One annotated object."""

    box: tuple[float, float, float, float]
    label: int  # entry of the label map
    area: float  # pixels, as annotated; the box's where the data set states none
    mask: Mask | None = None
    is_crowd: bool = False
    is_difficult: bool = False
    is_truncated: bool = False
    source_id: int | str | None = None  # the annotation's own number, for messages

    def to_json(self) -> dict[str, Any]:
        """The stored form: flags that are off and values that are missing are left out."""
        stored: dict[str, Any] = {"box": list(self.box), "label": self.label, "area": self.area}
        optional = {
            "mask": self.mask,
            "is_crowd": self.is_crowd or None,
            "is_difficult": self.is_difficult or None,
            "is_truncated": self.is_truncated or None,
            "source_id": self.source_id,
        }
        return stored | {name: value for name, value in optional.items() if value is not None}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Object":
        """Undo `to_json`."""
        return cls(**{**stored, "box": tuple(stored["box"])})


@dataclass(frozen=True)
class Record:
    """One annotated image, without its pixels."""

    image_id: str  # the shard key: unique in the set, no dot
    height: int  # pixels, of the image as it is decoded from the shard
    width: int
    objects: tuple[Object, ...]
    source_id: int | str | None = None  # the data set's own id (COCO's number), for result files
    file_name: str = ""  # where the image came from, for messages
    void: dict[str, Any] | None = None  # RLE of the pixels that count for nothing (Cityscapes)

    def to_json(self) -> dict[str, Any]:
        """The form stored as `<key>.json` in a shard."""
        void = {} if self.void is None else {"void": self.void}
        return {
            "image_id": self.image_id,
            "height": self.height,
            "width": self.width,
            "objects": [item.to_json() for item in self.objects],
            "source_id": self.source_id,
            "file_name": self.file_name,
            **void,
        }

    def to_bytes(self) -> bytes:
        """The content of `<key>.json`: the same record gives the same bytes."""
        return json.dumps(
            self.to_json(), ensure_ascii=False, sort_keys=True, separators=(",", ":")
        ).encode()

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], masks: bool = True) -> "Record":
        """Undo `to_json`; without the masks, if they are not wanted."""
        items = stored["objects"]
        if not masks:
            items = [{**item, "mask": None} for item in items]
        objects = tuple(Object.from_json(item) for item in items)
        return cls(**{**stored, "objects": objects})


@dataclass(frozen=True)
class RawSample:
    """What a reader yields: an image file (or encoded bytes) and what is annotated on it.

    `objects` holds the annotations as read, unchecked: `pack` finds the bad ones.
    """

    image_id: str
    image: Path | bytes
    height: int | None  # as annotated; None where the data set does not say
    width: int | None
    objects: tuple[Object, ...]
    source_id: int | str | None = None
    file_name: str = ""  # as the data set names it
    void: dict[str, Any] | None = None
    # The class of each pixel as an 8-bit grey PNG: entries of the label map, 255 for none of them.
    label_png: bytes | None = None
