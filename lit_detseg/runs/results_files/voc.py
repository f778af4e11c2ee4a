"""Pascal VOC's results files: one text file per class (development kit, section 4.2).

Lines are `image score xmin ymin xmax ymax`. Pixels are counted from 1 and both corners belong to
the box: our [0, 0, 1, 1] is (1, 1, 1, 1). All digits are written, so that nothing is lost.
"""

import shutil
from collections import defaultdict
from pathlib import Path

from lit_detseg.runs.directory import sync_path
from lit_detseg.runs.results_files.writer import ResultsWriter, image_name, named_classes
from lit_detseg.structures import BoxTarget, Detections, LabelMap, UserError

MOST_LINES_HELD = 10_000


class VocResults(ResultsWriter):
    """A folder of `comp4_det_test_<class>.txt`, also for classes that were not found.

    Raises:
        UserError: when a class has a name that no file can have.
    """

    file_name = "voc"

    def __init__(self, path: Path, label_map: LabelMap | None, rank: int = 0) -> None:
        super().__init__(path, label_map, rank)
        self._names = named_classes(label_map).names
        for name in self._names:
            if "/" in name:
                raise UserError(
                    f"The class {name!r} cannot be part of a file's name, as VOC's results want "
                    "it. Rename it, or write --run.results=coco."
                )
        self._lines: dict[int, list[str]] = defaultdict(list)
        self._held = 0

    def _write(self, found: Detections, target: BoxTarget) -> None:
        name = image_name(target)
        rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
        for label, score, (x1, y1, x2, y2) in rows:
            self._lines[label].append(f"{name} {score} {x1 + 1} {y1 + 1} {x2} {y2}\n")
            self._held += 1
        if self._held >= MOST_LINES_HELD:
            self._close()

    def _close(self) -> None:
        """A file per class, opened one after the other: there may be more than a process may."""
        for label, lines in self._lines.items():
            with (self.part / str(label)).open("a", encoding="utf-8") as file:
                file.writelines(lines)
        self._lines.clear()
        self._held = 0

    def _assemble(self, parts: list[Path]) -> None:
        self.whole.mkdir()
        for label, name in enumerate(self._names):
            path = self.whole / f"comp4_det_test_{name}.txt"
            with path.open("wb") as whole:
                for part in parts:
                    if (part / str(label)).is_file():
                        with (part / str(label)).open("rb") as lines:
                            shutil.copyfileobj(lines, whole)
            sync_path(path)
