"""One image of a page: its files, and what the page says about it, as stored and as trained on."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lit_detseg.data.records import Object, Record
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms.base import Sample
from lit_detseg.ops.masks import pack_masks
from lit_detseg.reports.mask_outlines import outlines
from lit_detseg.reports.page_images import write_classes, write_pixels, write_stored
from lit_detseg.reports.set_statistics import size_name
from lit_detseg.reports.training_views import Sighting, TrainingViews
from lit_detseg.structures import InstanceMasks, UserError

Entry = dict[str, Any]


class EntryWriter(NamedTuple):
    """Writes the image files of a page and gives what the page is to say about them.

    Args:
        reader: of the set.
        training: shows the images as training does; None: it cannot.
        folder: of the image files.
        side: pixels of the longer side of an image file, at most.
        colours: of the classes.
    """

    reader: ShardReader
    training: TrainingViews | None
    folder: Path
    side: int
    colours: list[tuple[int, int, int]]

    def write(self, sample: int, sightings: list[Sighting]) -> Entry:
        """Everything about one image.

        Raises:
            UserError: when the image or its record cannot be read.
        """
        pixels, record = self.reader.read(sample)
        name = f"{sample:07d}"
        classes = None
        if self.reader.has_labels:
            label = self.reader.label(sample)
            path = self.folder / f"{name}-classes"
            classes = write_classes(label, self.colours, self.side, path)
        return {
            "key": record.image_id,
            "file": write_stored(
                self.reader.image_bytes(sample), pixels, self.side, self.folder / name
            ),
            "height": record.height,
            "width": record.width,
            "source_id": record.source_id,
            "file_name": record.file_name,
            "classes": classes,
            "objects": self._stored_objects(pixels, record),
            "void": self._void(record),
            "views": [
                self._view(sighting, f"{name}-{number}")
                for number, sighting in enumerate(sightings, start=1)
            ],
        }

    def _stored_objects(self, pixels: np.ndarray, record: Record) -> list[Entry]:
        masks = Sample.from_objects(pixels, record.objects).masks()
        paths = self._outlines(masks, pixels.shape, record.image_id)
        return [
            {
                **_object(item.label, list(item.box), mask),
                "area": round(item.area, 1),
                "size": size_name(item.area),
                "flags": _flags(item),
                "source_id": item.source_id,
                "learned": self.training is None or self.training.is_learned(item),
            }
            for item, mask in zip(record.objects, paths, strict=True)
        ]

    def _void(self, record: Record) -> Entry | None:
        """The region that counts for nothing."""
        if record.void is None:
            return None
        size = (record.height, record.width)
        whole = np.array([[0, 0, record.width, record.height]], dtype=np.float64)
        unmoved = np.array([[1, 1, 0, 0]], dtype=np.float64)
        masks = pack_masks([record.void], [size], unmoved, whole)
        return self._outlines(masks, size, record.image_id)[0]

    def _view(self, sighting: Sighting, name: str) -> Entry:
        """The image as training shows it at a position of an epoch."""
        assert self.training is not None  # there are no sightings without
        view = self.training.read(sighting)
        target = view.target
        height, width = view.pixels.shape[:2]
        paths: list[Entry | None] = [None] * len(target.boxes)
        if target.masks is not None:
            paths = self._outlines(target.masks, view.pixels.shape, target.image_id)
        rows = zip(target.labels.tolist(), target.boxes.tolist(), paths, strict=True)
        return {
            "file": write_pixels(view.pixels, self.side, self.folder / name),
            "height": height,
            "width": width,
            "epoch": sighting.epoch,
            "position": sighting.position,
            "companions": list(view.companions),
            "objects": [_object(label, box, mask) for label, box, mask in rows],
        }

    def _outlines(
        self, masks: InstanceMasks, size: tuple[int, ...], key: str
    ) -> list[Entry | None]:
        scale = self.side / max(size[:2])
        try:
            found = outlines(masks, scale)
        except ValueError as error:
            raise UserError(f"Image {key}: a mask cannot be drawn. {error}") from error
        return [None if outline is None else outline.to_json() for outline in found]


def _object(label: int, box: list[float], mask: Entry | None) -> Entry:
    return {"label": label, "box": [round(value, 2) for value in box], "mask": mask}


def _flags(item: Object) -> list[str]:
    flags = {
        "crowd": item.is_crowd,
        "difficult": item.is_difficult,
        "truncated": item.is_truncated,
    }
    return [name for name, is_set in flags.items() if is_set]
