"""Pascal VOC: JPEGImages/, Annotations/*.xml and the lists in ImageSets/ (devkit of VOC 2012).

Masks are read by `voc_masks`.

VOC counts pixels from 1 and includes both corners, so that (1, 1, 1, 1) is the first pixel; in our
records that is [0, 0, 1, 1]. A box whose corners coincide as written is nevertheless a fault: no
annotator draws one pixel, a stray click does.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from lit_detseg.data.packing.checks import Fault, Kind, box_fault, object_name, shard_keys
from lit_detseg.data.readers import voc_masks
from lit_detseg.data.readers.pixel_maps import Annotated, without_image
from lit_detseg.data.records import Object, RawSample
from lit_detseg.errors import UserError
from lit_detseg.structures import LabelMap

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
CORNERS = ("xmin", "ymin", "xmax", "ymax")

Task = Literal["detection", "instances", "semantic"]
FOLDERS: dict[Task, tuple[str, ...]] = {
    "detection": ("Annotations",),
    "instances": (voc_masks.INSTANCES, voc_masks.CLASSES),
    "semantic": (voc_masks.CLASSES,),
}


class VocReader:
    """The images that some lists of a VOC data set name, in the order of their keys.

    Args:
        root: the folder that holds JPEGImages, ImageSets and the annotations of the task.
        splits: lists in ImageSets/Main (ImageSets/Segmentation for the tasks with masks) without
            ".txt", or with their folder: "Segmentation/val".
        classes: names in the order of their labels. Without it, the 20 classes of VOC if no other
            is found, else all names found, sorted; found in the whole Annotations folder, so that
            train, val and test agree. For masks, names of the values from 1 on; VOC's by default.
        task: "detection" reads the boxes in Annotations; "instances" the masks in
            SegmentationObject, whose boxes are tight; "semantic" SegmentationClass, and the label
            map begins with "background".

    Raises:
        UserError: when a folder or list is missing, an image is listed twice, or there is no such
            task.
    """

    def __init__(
        self,
        root: Path,
        splits: Sequence[str],
        classes: Sequence[str] | None = None,
        task: Task = "detection",
    ) -> None:
        if task not in FOLDERS:
            raise UserError(f"There is no task {task!r}. Choose one of {', '.join(FOLDERS)}.")
        for folder in ("JPEGImages", "ImageSets", *FOLDERS[task]):
            if not (root / folder).is_dir():
                raise UserError(
                    f"{root} has no folder {folder}. Give the folder that holds JPEGImages, "
                    f"ImageSets and {' and '.join(FOLDERS[task])}, for example VOCdevkit/VOC2007."
                )
        self.root = root
        self.task = task
        self.title = f"VOC data set {root}"
        self.source: dict[str, Any] = {"data_set": "voc", "splits": list(splits), "task": task}
        self.faults: tuple[Fault, ...] = ()
        lists = "Main" if task == "detection" else "Segmentation"
        stems = shard_keys(stem for split in splits for stem in _listed(root, split, lists))
        self.keys, self._stems = tuple(stems), tuple(stems.values())
        self.images = _images_by_stem(root / "JPEGImages", set(self._stems))
        self._names = _class_names(root / "Annotations", task) if classes is None else (*classes,)
        self._labels = {name: label for label, name in enumerate(self._names)}
        background = ("background",) if task == "semantic" else ()
        self.label_map = LabelMap(background + self._names)

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, rank: int) -> tuple[RawSample, list[Fault]]:
        """One image; its objects and size are missing where an annotation file is bad.

        Args:
            rank: 0 .. len - 1, in the order of the keys.
        """
        key, stem = self.keys[rank], self._stems[rank]
        image = self.images.get(stem, self.root / "JPEGImages" / f"{stem}.jpg")
        if self.task == "semantic":
            found = voc_masks.semantic(self.root, stem, len(self.label_map))
        elif self.task == "instances":
            found = self._instances(stem)
        else:
            found, _ = self._boxes(stem)
        name = f"JPEGImages/{image.name}"
        height, width = found.size
        annotated = (found.objects, stem, name, found.void, found.label_png)
        sample = RawSample(key, image, height, width, *annotated)
        return sample, found.faults

    def _boxes(self, stem: str) -> tuple[Annotated, list[Object | Fault]]:
        """What the XML file says, and its objects, good or bad, in their order."""
        file = f"Annotations/{stem}.xml"
        try:
            annotation = ElementTree.parse(self.root / file).getroot()
            size = _size(annotation)
            elements = enumerate(annotation.findall("object"), start=1)
            items = [self._object(element, number, file) for number, element in elements]
        except FileNotFoundError:
            return without_image(Kind.MISSING_ANNOTATION, file, "no such file"), []
        except (ElementTree.ParseError, ValueError) as error:
            return without_image(Kind.UNREADABLE_ANNOTATION, file, str(error)), []
        objects = tuple(item for item in items if isinstance(item, Object))
        faults = [item for item in items if isinstance(item, Fault)]
        return Annotated(size, objects, faults), items

    def _instances(self, stem: str) -> Annotated:
        """Masks, with the flags of the XML file, which is read for them alone and may be absent."""
        of_file, items = self._boxes(stem)
        found = voc_masks.instances(self.root, stem, self._names, items)
        unreadable = [f for f in of_file.faults if f.kind is Kind.UNREADABLE_ANNOTATION]
        return found._replace(faults=unreadable + found.faults)

    def _object(self, element: Element, number: int, file: str) -> Object | Fault:
        """The object, or why it is none."""
        name = (element.findtext("name") or "").strip()
        item = object_name(number, name)
        try:
            written = [float(element.findtext(f"bndbox/{corner}") or "") for corner in CORNERS]
        except ValueError:
            texts = [element.findtext(f"bndbox/{corner}") for corner in CORNERS]
            return Fault(Kind.MALFORMED_OBJECT, file, f"its corners are {texts}", item)
        if name not in self._labels:
            known = ", ".join(self._names)
            return Fault(Kind.UNKNOWN_CLASS, file, f"{name!r} is none of {known}", item)
        wrong = box_fault(written)
        if wrong is not None:
            return Fault(wrong[0], file, wrong[1], item)
        x1, y1, x2, y2 = written[0] - 1, written[1] - 1, written[2], written[3]
        return Object(
            box=(x1, y1, x2, y2),
            label=self._labels[name],
            area=(x2 - x1) * (y2 - y1),
            is_difficult=_flag(element, "difficult"),
            is_truncated=_flag(element, "truncated"),
            source_id=number,
        )


def _listed(root: Path, split: str, folder: str) -> list[str]:
    """Image names of a list: the first word of each line (a second word is a class's flag)."""
    sets = root / "ImageSets"
    candidates = (sets / folder / f"{split}.txt", sets / f"{split}.txt")
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        found = ", ".join(sorted(path.stem for path in (sets / folder).glob("*.txt"))) or "none"
        raise UserError(
            f"There is no list {candidates[0]}. Lists in ImageSets/{folder}: {found}. "
            "A list in another folder is given with it, for example --split Segmentation/train."
        )
    names = [
        line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    if not names:
        raise UserError(f"{path} names no image. Choose another --split.")
    return names


def _images_by_stem(folder: Path, stems: set[str]) -> dict[str, Path]:
    """The image file of each stem that has one."""
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or path.stem not in stems:
            continue
        if path.stem in images:
            raise UserError(
                f"{folder} has two images of one name: {images[path.stem].name} and {path.name}. "
                "Remove the one that was not annotated."
            )
        images[path.stem] = path
    return images


def _class_names(folder: Path, task: Task) -> tuple[str, ...]:
    """VOC's own classes if they name every object in the folder, else the names found, sorted.

    Masks have numbers and no names: theirs are VOC's.
    """
    if task != "detection":
        return VOC_CLASSES
    found: set[str] = set()
    for path in folder.glob("*.xml"):
        try:
            elements = ElementTree.parse(path).getroot().findall("object")
        except ElementTree.ParseError:
            continue  # a fault of the image, if a list names it
        found |= {(element.findtext("name") or "").strip() for element in elements}
    found.discard("")
    if not found:
        raise UserError(f"No file in {folder} names an object. Name the classes: --classes a,b,c.")
    return VOC_CLASSES if found <= set(VOC_CLASSES) else tuple(sorted(found))


def _size(annotation: Element) -> tuple[int, int] | tuple[None, None]:
    """Annotated height and width, or twice None where the file states no size."""
    height, width = annotation.findtext("size/height"), annotation.findtext("size/width")
    if not height or not width:
        return None, None
    return int(float(height)), int(float(width))


def _flag(element: Element, name: str) -> bool:
    """Whether a flag is set; a missing or empty one is not."""
    return (element.findtext(name) or "").strip() in ("1", "true", "True")
