"""Results files that all ranks write together: complete, or not there at all.

Each rank writes its images as they come into a hidden folder beside the results, so that no rank
holds more than a few of them. When all have, rank zero puts the parts together and gives the whole
its name. In turn:

    prepare (rank zero)  |  open, write for each image, close (all ranks)  |  publish (rank zero)

where nobody passes a bar before all have come to it.
"""

import json
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from lit_detseg.runs.directory import sync_path
from lit_detseg.structures import BoxTarget, Detections, LabelMap, UserError

DONE = "done.json"


class ResultsWriter(ABC):
    """Detections in the form that the server of a data set reads.

    Args:
        path: the file or folder to be; one of an earlier evaluation is replaced.
        label_map: the classes; None where nobody knows their names.
        rank: of this process.
    """

    file_name: ClassVar[str]  # what the results are called in a run directory

    def __init__(self, path: Path, label_map: LabelMap | None, rank: int = 0) -> None:
        self.path = path
        self.label_map = label_map
        self.work = path.with_name(f".{path.name}.writing")
        self.whole = self.work / "whole"  # what will be `path`
        self.part = self.work / f"rank_{rank}"  # folder of this rank
        self._written = {"images": 0, "detections": 0}

    def prepare(self) -> None:
        """Begin; what a killed evaluation has left is removed."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)

    def open(self) -> None:
        """Make ready to write on this rank."""
        self.part.mkdir(parents=True)

    def write(self, found: Detections, target: BoxTarget) -> None:
        """Take in one image.

        Args:
            found: in pixels of the original image, on the CPU.
            target: which image it is; its objects are not read.
        """
        self._write(found, target)
        self._written["images"] += 1
        self._written["detections"] += len(found.scores)

    def close(self) -> None:
        """End this rank's part."""
        self._close()
        (self.part / DONE).write_text(json.dumps(self._written))

    def publish(self, ranks: int) -> dict[str, int]:
        """Give the results their name.

        Returns:
            How many `images` and `detections` were written.

        Raises:
            UserError: when the part of a rank is not to be seen from here.
        """
        parts = [self.work / f"rank_{rank}" for rank in range(ranks)]
        for rank, part in enumerate(parts):
            if not (part / DONE).is_file():
                raise UserError(
                    f"What rank {rank} has written for {self.path} cannot be seen by rank 0. Give "
                    "a --run.dir on a file system that all nodes share."
                )
        counts = [json.loads((part / DONE).read_text()) for part in parts]
        self._assemble(parts)
        if self.path.is_dir():
            self.path.rename(self.work / "replaced")
        self.whole.replace(self.path)
        sync_path(self.path.parent)
        shutil.rmtree(self.work)
        return {key: sum(count[key] for count in counts) for key in self._written}

    @abstractmethod
    def _write(self, found: Detections, target: BoxTarget) -> None:
        """Write one image into `part` or `whole`."""

    @abstractmethod
    def _close(self) -> None:
        """Write what is still held back."""

    @abstractmethod
    def _assemble(self, parts: list[Path]) -> None:
        """Complete `whole` from the folders of all ranks."""


def image_name(target: BoxTarget) -> str:
    """The data set's own name of an image, for lines of words; the shard key where it has none.

    Raises:
        UserError: when it would be several words, or a folder.
    """
    name = target.source_id if isinstance(target.source_id, str) else target.image_id
    if len(name.split()) != 1 or "/" in name:
        raise UserError(
            f"The image {name!r} has a space or a slash in its name, which VOC's and Cityscapes' "
            "results files do not allow. Rename it and pack again, or write --run.results=coco."
        )
    return name


def named_classes(label_map: LabelMap | None) -> LabelMap:
    """The classes of a form that calls them by name or by the data set's numbers.

    Raises:
        UserError: when there are none.
    """
    if label_map is None:
        raise UserError(
            "Neither the data module nor the checkpoint has a label map, which these results "
            "files need. Give the data module a `label_map`, or write --run.results=coco."
        )
    return label_map
