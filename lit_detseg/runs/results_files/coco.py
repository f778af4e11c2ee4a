"""COCO's results file (https://cocodataset.org/#format-results), one JSON list."""

import json
from pathlib import Path
from typing import Any, TextIO

from lit_detseg.metrics.instance_masks import found_masks
from lit_detseg.runs.directory import sync_path
from lit_detseg.runs.results_files.writer import ResultsWriter
from lit_detseg.structures import BoxTarget, Detections, LabelMap

ROWS = "rows.jsonl"


class CocoResults(ResultsWriter):
    """`image_id`, `category_id`, `bbox`, `score` and, of a detector with masks, `segmentation`."""

    file_name = "coco.json"
    _rows: TextIO

    def open(self) -> None:
        """Open this rank's rows."""
        super().open()
        self._rows = (self.part / ROWS).open("w", encoding="utf-8")

    def _write(self, found: Detections, target: BoxTarget) -> None:
        for row in coco_rows(found, target, self.label_map):
            self._rows.write(json.dumps(row) + "\n")

    def _close(self) -> None:
        self._rows.close()

    def _assemble(self, parts: list[Path]) -> None:
        """One row a line, in the order of the ranks."""
        with self.whole.open("w", encoding="utf-8") as whole:
            before = "[\n"
            for part in parts:
                with (part / ROWS).open(encoding="utf-8") as rows:
                    for row in rows:
                        whole.write(before + row.rstrip("\n"))
                        before = ",\n"
            whole.write("\n]\n" if before == ",\n" else "[]\n")
        sync_path(self.whole)


def coco_rows(
    found: Detections, target: BoxTarget, label_map: LabelMap | None
) -> list[dict[str, Any]]:
    """One image's detections, boxes XYWH and masks as compressed RLE, in original pixels.

    `image_id` is the data set's own number of the image where the shards know it; otherwise their
    key, as a number if it consists of digits. `category_id` likewise, otherwise the label.
    """
    source_ids = None if label_map is None else label_map.source_ids
    corners, sizes = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
    rows = [
        {
            "image_id": _image_id(target),
            "category_id": label if source_ids is None else source_ids[label],
            "bbox": [*corner, *size],
            "score": score,
        }
        for corner, size, label, score in zip(
            corners.tolist(),
            sizes.tolist(),
            found.labels.tolist(),
            found.scores.tolist(),
            strict=True,
        )
    ]
    if found.masks is None:
        return rows
    masks = found_masks(found, target)
    return [
        {**row, "segmentation": {**rle, "counts": rle["counts"].decode("ascii")}}
        for row, rle in zip(rows, masks, strict=True)
    ]


def _image_id(target: BoxTarget) -> int | str:
    if target.source_id is not None:
        return target.source_id
    return int(target.image_id) if target.image_id.isdigit() else target.image_id
