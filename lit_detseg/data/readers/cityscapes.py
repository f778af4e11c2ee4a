"""Cityscapes: leftImg8bit/<split>/<city>/*_leftImg8bit.png and gtFine/<split>/<city>/*_gtFine_*.

Objects are the visible parts: where two polygons overlap, the later one in the file is in front.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from lit_detseg.data.packing.checks import Fault, Kind, shard_keys
from lit_detseg.data.packing.label_png import NO_CLASS
from lit_detseg.data.readers.cityscapes_labels import (
    BY_ID,
    NO_TRAIN_ID,
    SEMANTIC,
    THINGS,
    VOID_IDS,
    label_map,
)
from lit_detseg.data.readers.cityscapes_pixels import (
    InstanceIds,
    class_of,
    draw_instance_ids,
    read_instance_ids,
)
from lit_detseg.data.readers.pixel_maps import (
    Annotated,
    label_map_png,
    open_png,
    regions,
    void_mask,
    without_image,
)
from lit_detseg.data.records import Object, RawSample
from lit_detseg.errors import UserError

IMAGES, ANNOTATIONS = "leftImg8bit", "gtFine"
IMAGE_END = "_leftImg8bit.png"

# The annotation files of the test set say "unlabeled" or "out of roi" everywhere: the truth is kept
# by the benchmark's server. As annotations they would teach that there is nothing.
NOT_ANNOTATED = "test"

Task = Literal["instances", "semantic"]
Source = Literal["polygons", "instance_ids"]
ENDS = {
    ("instances", "polygons"): "_gtFine_polygons.json",
    ("instances", "instance_ids"): "_gtFine_instanceIds.png",
    ("semantic", "polygons"): "_gtFine_labelIds.png",
    ("semantic", "instance_ids"): "_gtFine_labelIds.png",
}
LABEL_OF_ID = {label.id: place for place, label in enumerate(THINGS)}
TRAIN_ID_OF_ID = {
    number: NO_CLASS if label.train_id == NO_TRAIN_ID else label.train_id
    for number, label in BY_ID.items()
}


class ImageFiles(NamedTuple):
    """Where one image of the data set is, relative to its folder."""

    name: str  # aachen_000000_000019
    image: str
    annotation: str | None  # None where the data set has none


class CityscapesReader:
    """The images of some splits of Cityscapes, in the order of their keys.

    A key is the name of the image: city, sequence and frame.

    Args:
        root: the folder that holds leftImg8bit and gtFine.
        splits: folders in leftImg8bit: "train", "val", or "test", which has no annotations and is
            read alone, as images without objects.
        task: "instances" gives the 8 classes of things as objects with masks; groups of them that
            nobody could tell apart are crowds; what the evaluation ignores is void. "semantic"
            gives the 19 classes of pixels, from the labelIds files.
        annotations: where instances come from: "polygons", or the PNGs that Cityscapes made from
            them ("instance_ids"). The outcome is the same.

    Raises:
        UserError: when a folder is missing or empty, or "test" is mixed with another split.
    """

    def __init__(
        self,
        root: Path,
        splits: Sequence[str],
        task: Task = "instances",
        annotations: Source = "polygons",
    ) -> None:
        if (task, annotations) not in ENDS:
            raise UserError(
                f"There is no task {task!r} with annotations {annotations!r}. Choose instances or "
                "semantic, and polygons or instance_ids."
            )
        if NOT_ANNOTATED in splits and len(splits) > 1:
            raise UserError(
                f"The split test has no annotations, the others in {', '.join(splits)} have. "
                "Pack it into a set of its own."
            )
        self.root = root
        self.task = task
        self.annotations = annotations
        self.title = f"Cityscapes in {root}"
        self.source: dict[str, Any] = {
            "data_set": "cityscapes",
            "splits": list(splits),
            "task": task,
            "annotations": annotations if task == "instances" else "label_ids",
        }
        self.label_map = label_map(THINGS if task == "instances" else SEMANTIC)
        end = ENDS[task, annotations]
        found = [image for split in splits for image in _images(root, split, end)]
        by_name = {image.name: image for image in found}
        keys = shard_keys(image.name for image in found)
        self.keys = tuple(keys)
        self._images = [by_name[name] for name in keys.values()]
        self.faults = tuple(fault for split in splits for fault in _orphans(root, split, end, keys))

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, rank: int) -> tuple[RawSample, list[Fault]]:
        """One image; its objects and size are missing where the annotation file is bad.

        Args:
            rank: 0 .. len - 1, in the order of the keys.
        """
        key, image = self.keys[rank], self._images[rank]
        found = Annotated((None, None), (), [])
        if image.annotation is not None:
            try:
                found = self._annotated(self.root / image.annotation, image.annotation)
            except FileNotFoundError:
                found = without_image(Kind.MISSING_ANNOTATION, image.annotation, "no such file")
            except ValueError as error:
                found = without_image(Kind.UNREADABLE_ANNOTATION, image.annotation, str(error))
        height, width = found.size
        annotated = (found.objects, image.name, image.image, found.void, found.label_png)
        return RawSample(key, self.root / image.image, height, width, *annotated), found.faults

    def _annotated(self, path: Path, file: str) -> Annotated:
        if self.task == "semantic":
            return _semantic(path, file)
        if self.annotations == "polygons":
            return instances(draw_instance_ids(path, file))
        return instances(read_instance_ids(path, file))


def instances(ids: InstanceIds) -> Annotated:
    """Things and groups of them as objects; the same from either kind of file."""
    numbers, faults = ids
    wanted = [value for value in np.unique(numbers).tolist() if class_of(value) in LABEL_OF_ID]
    objects = tuple(
        Object(
            box=region.box,
            label=LABEL_OF_ID[class_of(number)],
            area=float(region.area),
            mask=region.mask,
            is_crowd=number < 1000,
            source_id=number,
        )
        for number, region in regions(numbers, wanted).items()
    )
    void = void_mask(np.isin(numbers, VOID_IDS))
    return Annotated((numbers.shape[0], numbers.shape[1]), objects, faults, void)


def _semantic(path: Path, file: str) -> Annotated:
    """The class of each pixel, of a `*_gtFine_labelIds.png`."""
    picture = open_png(path)
    if picture.mode != "L":
        raise ValueError(f"a picture of mode {picture.mode}, not of 8-bit grey: no label ids")
    numbers = np.asarray(picture)
    png, faults = label_map_png(numbers, TRAIN_ID_OF_ID, file)
    return Annotated((numbers.shape[0], numbers.shape[1]), (), faults, label_png=png)


def _images(root: Path, split: str, end: str) -> list[ImageFiles]:
    """The images of a split, and where the annotation of each should be."""
    folder = root / IMAGES / split
    paths = sorted(folder.glob(f"*/*{IMAGE_END}"))
    if not paths:
        raise UserError(
            f"There is no image {folder}/<city>/*{IMAGE_END}. Give the folder that holds {IMAGES} "
            f"and {ANNOTATIONS}, and one of its splits (found: {_folders(root / IMAGES)})."
        )
    if split != NOT_ANNOTATED and not (root / ANNOTATIONS / split).is_dir():
        raise UserError(
            f"{root} has no folder {ANNOTATIONS}/{split}. Unpack gtFine_trainvaltest.zip beside "
            f"{IMAGES}; there are: {_folders(root / ANNOTATIONS)}."
        )
    images = []
    for path in paths:
        name = path.name.removesuffix(IMAGE_END)
        annotation = f"{ANNOTATIONS}/{split}/{path.parent.name}/{name}{end}"
        is_annotated = split != NOT_ANNOTATED
        images.append(
            ImageFiles(name, str(path.relative_to(root)), annotation if is_annotated else None)
        )
    return images


def _orphans(root: Path, split: str, end: str, keys: dict[str, str]) -> list[Fault]:
    """Annotation files of images that are not there."""
    if split == NOT_ANNOTATED:
        return []
    names = set(keys.values())
    return [
        Fault(
            Kind.UNKNOWN_IMAGE, str(path.relative_to(root)), f"there is no image of it in {IMAGES}"
        )
        for path in sorted((root / ANNOTATIONS / split).glob(f"*/*{end}"))
        if path.name.removesuffix(end) not in names
    ]


def _folders(folder: Path) -> str:
    return ", ".join(sorted(path.name for path in folder.glob("*") if path.is_dir())) or "none"
