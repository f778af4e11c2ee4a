"""Pascal VOC's annotations and results files as rows that can be judged.

Results: one text file per class, `comp4_det_test_<class>.txt`, with lines
`image score xmin ymin xmax ymax` (development kit, section 4.2). Pixels are counted from 1 and
both corners belong to the box, here and in the annotations: (1, 1, 1, 1) is our [0, 0, 1, 1].
"""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from lit_detseg.errors import UserError
from lit_detseg.metrics.pairs import Found, Truth

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocFiles(NamedTuple):
    """Annotations and results that belong together."""

    found: Found
    truth: Truth
    num_images: int
    class_names: tuple[str, ...]  # of the annotated objects, sorted
    warnings: tuple[str, ...]


def read_voc(annotations: Path, results: Path, image_set: Path | None = None) -> VocFiles:
    """Read the annotations of a set of images and everybody's detections in them.

    Args:
        annotations: folder of XML files.
        results: folder of text files, one per class.
        image_set: file that names an image in the first word of each line; without it, every XML
            file is one.

    Raises:
        UserError: naming the file, the line or object and the value, when something cannot be read,
            or is about an image that is not in the set.
    """
    names = sorted(_image_names(annotations, image_set))
    image_numbers = {name: number for number, name in enumerate(names)}
    objects = [
        (number, *row)
        for name, number in image_numbers.items()
        for row in _objects(annotations / f"{name}.xml")
    ]
    class_names = tuple(sorted({row[1] for row in objects}))
    files, warnings = _result_files(results, class_names)
    detections = [
        (label, *row)
        for label, name in enumerate(class_names)
        if name in files
        for row in _detections(files[name], image_numbers)
    ]
    found, truth = _found(detections), _truth(objects, class_names)
    return VocFiles(found, truth, len(names), class_names, tuple(warnings))


def _found(rows: Sequence[tuple[Any, ...]]) -> Found:
    """Rows of label, image number, score, corners."""
    table = np.array([(*row[:3], *row[3]) for row in rows], dtype=np.float64).reshape(-1, 7)
    boxes = _xywh(table[:, 3:])
    label, image = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    return Found(image, label, table[:, 2], boxes, boxes[:, 2] * boxes[:, 3])


def _truth(rows: Sequence[tuple[Any, ...]], class_names: Sequence[str]) -> Truth:
    """Rows of image number, class name, corners, whether difficult."""
    labels = {name: label for label, name in enumerate(class_names)}
    boxes = _xywh(np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4))
    return Truth(
        image=np.array([row[0] for row in rows], dtype=np.int64),
        label=np.array([labels[row[1]] for row in rows], dtype=np.int64),
        shape=boxes,
        area=boxes[:, 2] * boxes[:, 3],
        is_crowd=np.zeros(len(rows), dtype=bool),
        is_difficult=np.array([row[3] for row in rows], dtype=bool),
    )


def _xywh(corners: np.ndarray) -> np.ndarray:
    """Corners counted from 1 and inclusive -> XYWH, continuous."""
    first = corners[:, :2] - 1
    return np.concatenate([first, corners[:, 2:] - first], axis=1)


def _image_names(annotations: Path, image_set: Path | None) -> set[str]:
    if image_set is not None:
        names = {line.split()[0] for _, line in _lines(image_set)}
        if not names:
            raise UserError(f"{image_set} names no image.")
        return names
    names = {path.stem for path in annotations.glob("*.xml")}
    if not names:
        raise UserError(f"{annotations} holds no XML file. Give VOC's Annotations folder.")
    return names


def _objects(path: Path) -> Iterator[tuple[str, list[float], bool]]:
    """Class name, corners as written and whether difficult, of each object of an image."""
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except ElementTree.ParseError as error:
        raise UserError(f"{path} is not XML ({error}).") from error
    for number, element in enumerate(root.findall("object"), start=1):
        name = (element.findtext("name") or "").strip()
        if not name:
            raise UserError(f"{path}: object {number} has no name.")
        is_difficult = (element.findtext("difficult") or "").strip() not in ("", "0", "false")
        yield name, _corners(element, f"{path}: object {number} ({name})"), is_difficult


def _corners(element: Element, where: str) -> list[float]:
    texts = [element.findtext(f"bndbox/{corner}") or "" for corner in CORNERS]
    try:
        return _finite(texts)
    except ValueError as error:
        raise UserError(f"{where} has the corners {texts}, not four numbers.") from error


def _result_files(folder: Path, class_names: Collection[str]) -> tuple[dict[str, Path], list[str]]:
    """The file of each class that has one, and what is odd about the folder."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give the one that holds the results files.")
    files: dict[str, Path] = {}
    warnings = []
    for path in sorted(folder.glob("*.txt")):
        name = _class_of(path.stem, class_names)
        if name is None:
            warnings.append(f"{path} is of no class that has an annotated object: not read.")
        elif name in files:
            raise UserError(f"{files[name]} and {path} are both of class {name}. Remove one.")
        else:
            files[name] = path
    if not files:
        raise UserError(
            f"{folder} holds no results file of any annotated class, such as "
            f"comp4_det_test_{next(iter(class_names), 'cat')}.txt."
        )
    missing = [name for name in class_names if name not in files]
    warnings += [f"{folder} has no results file of class {name}: its AP is 0." for name in missing]
    return files, warnings


def _class_of(stem: str, class_names: Collection[str]) -> str | None:
    """The class that a results file is about: what its name ends with.

    >>> _class_of("comp4_det_test_traffic_light", ["light", "traffic_light"])
    'traffic_light'
    """
    official = re.fullmatch(r".*_det_[^_]+_(.+)", stem)
    if official:
        return official[1] if official[1] in class_names else None
    fitting = [name for name in class_names if stem == name or stem.endswith(f"_{name}")]
    return max(fitting, key=len, default=None)


def _detections(
    path: Path, image_numbers: dict[str, int]
) -> Iterator[tuple[int, float, list[float]]]:
    """Image number, score and corners as written, of each line."""
    for number, line in _lines(path):
        words = line.split()
        try:
            score, *corners = _finite(words[1:])
            if len(corners) != len(CORNERS):
                raise ValueError
        except ValueError as error:
            raise UserError(
                f"{path}, line {number}: {line.strip()!r} is not `image score xmin ymin xmax ymax` "
                "with five finite numbers."
            ) from error
        if words[0] not in image_numbers:
            raise UserError(
                f"{path}, line {number}: image {words[0]} is not in the set of "
                f"{len(image_numbers)} images that is evaluated."
            )
        yield image_numbers[words[0]], score, corners


def _finite(words: Sequence[str]) -> list[float]:
    numbers = [float(word) for word in words]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("not finite")
    return numbers


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, counted from 1."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file ({error}).") from error
    return ((n, line) for n, line in enumerate(text.splitlines(), start=1) if line.strip())
