"""A COCO annotation file as places of rows: which annotations each image has, and where they lie.

For COCO's train2017 (118 thousand images, 860 thousand objects) that takes about 60 MB; parsed, the
file takes more than 3 GB.
"""

import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lit_detseg.data.packing.checks import shard_keys
from lit_detseg.data.readers.json_lists import JsonLists, Member, NotJsonError
from lit_detseg.data.readers.json_lists import Row as JsonRow
from lit_detseg.errors import UserError

LISTS = ("images", "annotations", "categories")
NO_IMAGE = -1
Row = dict[str, Any]


class CocoFile:
    """The images of an annotation file in the order of their keys, and their annotations.

    Args:
        path: the JSON file.

    Attributes:
        keys: shard keys of the images, sorted.
        categories: the rows of that list.
        sha256: of the file.

    Raises:
        UserError: when the file is missing, is not JSON or not in COCO's format.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"There is no annotation file {path}. Check --annotations.")
        self.path = path
        # Kept open: whatever becomes of the path, we go on reading the file that was scanned.
        self._file = path.open("rb")
        scan = JsonLists(path)
        self._encoding = scan.encoding
        lists = _scan(scan, path)
        self.sha256 = scan.sha256
        self.categories = lists.categories
        place_of = {name: place for place, name in enumerate(lists.names)}
        keys = shard_keys(lists.names)
        self.keys = list(keys)
        images = [place_of[name] for name in keys.values()]
        rank_of = {lists.ids[place]: rank for rank, place in enumerate(images)}
        ranks = lists.ranks(rank_of)
        self._images = lists.images.extents()[images]
        self._annotations = lists.annotations.extents()
        # The annotations of rank r are those of _order[_first[r] : _first[r + 1]].
        self._order = np.argsort(ranks, kind="stable").astype(np.int32)
        self._first = np.searchsorted(ranks[self._order], np.arange(NO_IMAGE, len(images) + 1))

    def read(self, rank: int) -> tuple[Row, list[Row]]:
        """The row of an image, and those of its annotations as they stand in the file."""
        annotations = self._order[self._first[rank + 1] : self._first[rank + 2]].tolist()
        rows = [self._row(self._annotations[number]) for number in annotations]
        return self._row(self._images[rank]), rows

    def orphans(self) -> Iterator[Any]:
        """The rows of annotations that belong to no image."""
        for number in self._order[: self._first[1]].tolist():
            yield self._row(self._annotations[number])

    def _row(self, extent: np.ndarray) -> Any:
        start, end = extent.tolist()
        data = os.pread(self._file.fileno(), end - start, start)
        try:
            return json.loads(data.decode(self._encoding, "surrogatepass"))
        except ValueError as error:
            raise UserError(
                f"{self.path} was changed while it was read (bytes {start} to {end}: {error}). "
                "Pack again when it stays as it is."
            ) from error


class _Extents:
    """Where the rows of a list lie."""

    def __init__(self) -> None:
        self._edges = array("q")  # start, end, start, end, ...

    def add(self, row: JsonRow) -> None:
        self._edges.append(row.start)
        self._edges.append(row.end)

    def extents(self) -> np.ndarray:
        """(rows, 2) int64: first byte, and the byte behind the last one."""
        return np.frombuffer(self._edges, np.int64).reshape(-1, 2)


class _Lists:
    """What is kept of a file while it is scanned."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_list: dict[str, bool] = {}
        for name in LISTS:
            self.begin(name)

    def begin(self, name: str) -> None:
        """Forget a list that comes once more: of equal names in JSON, the last one counts."""
        if name == "images":
            self.images = _Extents()
            self.names: list[str] = []  # of the keys, before they are made fit for a tar file
            self.ids: list[int | str] = []
        elif name == "annotations":
            self.annotations = _Extents()
            self._image_ids = array("q")
            self._other_ids: dict[int, Any] = {}  # by number of the row, where no small integer
        elif name == "categories":
            self.categories: list[Any] = []

    def add(self, row: JsonRow) -> None:
        """Keep what is needed of a row."""
        if row.list_name == "images":
            self._add_image(row)
        elif row.list_name == "annotations":
            image_id = row.value.get("image_id") if isinstance(row.value, dict) else None
            if type(image_id) is int and abs(image_id) < 2**62:
                self._image_ids.append(image_id)
            else:
                self._other_ids[len(self._image_ids)] = image_id
                self._image_ids.append(0)
            self.annotations.add(row)
        elif row.list_name == "categories":
            self.categories.append(row.value)

    def ranks(self, rank_of: dict[int | str, int]) -> np.ndarray:
        """(annotations,) int32: the rank of the image that each belongs to, or NO_IMAGE."""
        ranks = array("i", (rank_of.get(image_id, NO_IMAGE) for image_id in self._image_ids))
        for number, image_id in self._other_ids.items():
            is_id = isinstance(image_id, int | str | float)
            ranks[number] = rank_of.get(image_id, NO_IMAGE) if is_id else NO_IMAGE  # type: ignore[call-overload]
        return np.frombuffer(ranks, np.int32)

    def _add_image(self, row: JsonRow) -> None:
        number = row.value.get("id") if isinstance(row.value, dict) else None
        if not isinstance(number, int | str) or not isinstance(row.value.get("file_name"), str):
            raise UserError(
                f"{self.path} has an image without id or file_name: {str(row.value)[:80]}. Mend it."
            )
        self.names.append(f"{number:012d}" if isinstance(number, int) else number)
        self.ids.append(number)
        self.images.add(row)


def _scan(scan: JsonLists, path: Path) -> _Lists:
    """Read a whole file once."""
    lists = _Lists(path)
    try:
        for event in scan:
            if isinstance(event, Member):
                lists.begin(event.name)
                lists.is_list[event.name] = event.is_list
            else:
                lists.add(event)
    except NotJsonError as error:
        raise UserError(f"{path} is not valid JSON: {error}. Copy or export it again.") from error
    is_object = scan.outermost == "dict"
    found = sorted(lists.is_list) if is_object else f"a {scan.outermost}"
    for name in LISTS:
        if not lists.is_list.get(name):
            raise UserError(
                f"{path} is not a COCO annotation file: it has no list {name!r} (found: {found}). "
                "Give a file like instances_train2017.json; results files cannot be packed."
            )
    return lists
