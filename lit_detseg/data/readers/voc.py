"""Pascal VOC: JPEGImages/, Annotations/*.xml and the lists in ImageSets/ (devkit of VOC 2012).

VOC counts pixels from 1 and includes both corners, so that (1, 1, 1, 1) is the first pixel; in our
records that is [0, 0, 1, 1]. A box whose corners coincide as written is nevertheless a fault: no
annotator draws one pixel, a stray click does.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from lit_detseg.data.packing.checks import Fault, Kind, box_fault, object_name, shard_keys
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


class VocReader:
    """The images that some lists of a VOC data set name, in the order of their keys.

    Args:
        root: the folder that holds JPEGImages, Annotations and ImageSets.
        splits: lists in ImageSets/Main without ".txt", or with their folder: "Segmentation/val".
        classes: names in the order of their labels. Without it, the 20 classes of VOC if no other
            is found, else all names found, sorted; found in the whole Annotations folder, so that
            train, val and test agree.

    Raises:
        UserError: when a folder or list is missing, or an image is listed twice.
    """

    def __init__(
        self, root: Path, splits: Sequence[str], classes: Sequence[str] | None = None
    ) -> None:
        for folder in ("JPEGImages", "Annotations", "ImageSets"):
            if not (root / folder).is_dir():
                raise UserError(
                    f"{root} has no folder {folder}. Give the folder that holds JPEGImages, "
                    "Annotations and ImageSets, for example VOCdevkit/VOC2007."
                )
        self.root = root
        self.title = f"VOC data set {root}"
        self.source: dict[str, Any] = {"data_set": "voc", "splits": list(splits)}
        self.faults: tuple[Fault, ...] = ()
        self.stems = shard_keys(stem for split in splits for stem in _listed(root, split))
        self.images = _images_by_stem(root / "JPEGImages", set(self.stems.values()))
        names = _class_names(root / "Annotations") if classes is None else tuple(classes)
        self.label_map = LabelMap(names)
        self._labels = {name: label for label, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.stems)

    def __iter__(self) -> Iterator[tuple[RawSample, list[Fault]]]:
        for key, stem in self.stems.items():
            yield self._read(key, stem)

    def _read(self, key: str, stem: str) -> tuple[RawSample, list[Fault]]:
        """One image; its objects and size are missing where the annotation file is bad."""
        image = self.images.get(stem, self.root / "JPEGImages" / f"{stem}.jpg")
        file = f"Annotations/{stem}.xml"
        items: list[Object | Fault] = []
        height = width = None
        try:
            annotation = ElementTree.parse(self.root / file).getroot()
            height, width = _size(annotation)
            elements = enumerate(annotation.findall("object"), start=1)
            items = [self._object(element, number, file) for number, element in elements]
        except FileNotFoundError:
            items = [Fault(Kind.MISSING_ANNOTATION, file, "no such file")]
        except (ElementTree.ParseError, ValueError) as error:
            items = [Fault(Kind.UNREADABLE_ANNOTATION, file, str(error))]
        objects = tuple(item for item in items if isinstance(item, Object))
        faults = [item for item in items if isinstance(item, Fault)]
        name = f"JPEGImages/{image.name}"
        return RawSample(key, image, height, width, objects, stem, name), faults

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
            known = ", ".join(self.label_map.names)
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


def _listed(root: Path, split: str) -> list[str]:
    """Image names of a list: the first word of each line (a second word is a class's flag)."""
    sets = root / "ImageSets"
    candidates = (sets / "Main" / f"{split}.txt", sets / f"{split}.txt")
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        found = ", ".join(sorted(path.stem for path in (sets / "Main").glob("*.txt"))) or "none"
        raise UserError(
            f"There is no list {candidates[0]}. Lists in ImageSets/Main: {found}. "
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


def _class_names(folder: Path) -> tuple[str, ...]:
    """VOC's own classes if they name every object in the folder, else the names found, sorted."""
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
