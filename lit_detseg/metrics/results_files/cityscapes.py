"""Cityscapes' results of instances as rows that can be judged.

A folder with one text file per image, `<city>_<sequence>_<frame>*.txt`, with lines
`relative/mask.png labelID score`; a pixel of the mask that is not 0 belongs to the instance. The
rules are those of cityscapesScripts' `evalInstanceLevelSemanticLabeling`.
"""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np

from lit_detseg.errors import UserError
from lit_detseg.metrics.pairs import Found
from lit_detseg.metrics.run_lengths import Rle, encoded, mask_areas


class Prediction(NamedTuple):
    """One line."""

    mask: Rle
    label: int
    score: float


def prediction_files(folder: Path, images: Collection[str]) -> dict[str, Path]:
    """The text files of images, wherever they are in the folder; others are passed over.

    Raises:
        UserError: when the folder is none, or an image has two files.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder. Give the one that holds the results.")
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.txt")):
        name = _longest_beginning(path.stem, images)
        if name is None:
            continue
        if name in files:
            raise UserError(f"{files[name]} and {path} are both of image {name}. Remove one.")
        files[name] = path
    return files


def read_predictions(
    file: Path,
    folder: Path,
    labels: Mapping[int, int | None],
    size: tuple[int, int],
    image: int = 0,
) -> Found:
    """The predictions of one image; those without any pixel are left out.

    Args:
        file: its text file.
        folder: where all the results are; no mask may lie outside of it.
        labels: our label of each of Cityscapes' numbers, None for classes that are not evaluated.
        size: height and width of the image.
        image: the number of the rows.

    Raises:
        UserError: naming the file and the line, when something cannot be read.
    """
    rows = [
        row
        for number, line in enumerate(_lines(file), start=1)
        if (row := _Line(file, number, line).read(folder, labels, size)) is not None
    ]
    masks = np.empty(len(rows), dtype=object)
    masks[:] = [row.mask for row in rows]
    return Found(
        image=np.full(len(rows), image, dtype=np.int64),
        label=np.array([row.label for row in rows], dtype=np.int64),
        score=np.array([row.score for row in rows], dtype=np.float64),
        shape=masks,
        area=mask_areas(masks),
    )


class _Line:
    """A line of a text file, and the words to complain about it."""

    def __init__(self, file: Path, number: int, line: str) -> None:
        self.file, self.number, self.line = file, number, line

    def read(
        self, folder: Path, labels: Mapping[int, int | None], size: tuple[int, int]
    ) -> Prediction | None:
        """The prediction, or None where it is not evaluated."""
        name, number, score = self._words()
        if number not in labels:
            self._complain(f"{number} is no labelID of Cityscapes")
        path = Path(name)
        if path.is_absolute():
            self._complain(f"{name} is not a path relative to the text file")
        path = (self.file.parent / path).resolve()
        if not path.is_relative_to(folder.resolve()):
            self._complain(f"{name} lies outside of {folder}")
        label = labels[number]
        if label is None:
            return None
        mask = self._pixels(path, name)
        if mask.shape != size:
            self._complain(f"{name} has {_shown(mask.shape)} pixels, its image {_shown(size)}")
        return Prediction(encoded(mask), label, score) if mask.any() else None

    def _words(self) -> tuple[str, int, float]:
        words = self.line.split()
        try:
            name, number, score = words[0], int(float(words[1])), float(words[2])
            if len(words) > 3 or not math.isfinite(score):
                raise ValueError
        except (ValueError, IndexError, OverflowError):
            self._complain("it is not `relative/mask.png labelID score`")
        return name, number, score

    def _pixels(self, path: Path, name: str) -> np.ndarray:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as picture:
                return np.asarray(picture.convert("L")) != 0
        except FileNotFoundError:
            self._complain(f"there is no file {name}")
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            self._complain(f"{name} cannot be read ({error})")

    def _complain(self, what: str) -> NoReturn:
        raise UserError(f"{self.file}, line {self.number} ({self.line.strip()!r}): {what}.")


def _longest_beginning(stem: str, images: Collection[str]) -> str | None:
    """The image that a file is of: `ulm_000000_000019_pred` begins with its name."""
    ends = range(len(stem), 0, -1)
    return next((stem[:end] for end in ends if stem[:end] in images), None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file ({error}).") from error


def _shown(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))
