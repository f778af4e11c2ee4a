"""Write what `predict` found as a COCO results file."""

import json
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from lit_detseg.structures import DetectionBatch, Detections, LabelMap


class ResultsFile(Callback):
    """Collect detections in original pixels and write them once, from all ranks.

    The form is COCO's (https://cocodataset.org/#format-results): a JSON list of `image_id`,
    `category_id`, `bbox` (x, y, width, height) and `score`. An image id of digits is written as a
    number, as COCO's evaluation expects; `category_id` is the data set's own number where the
    label map knows it, otherwise the label.

    Args:
        path: the file to write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows: list[dict[str, Any]] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: list[Detections],
        batch: DetectionBatch,
        batch_index: int,
        dataloader_index: int = 0,
    ) -> None:
        """Keep the batch's detections as rows of the file."""
        label_map: Any = module.label_map
        for found, target in zip(outputs, batch.targets, strict=True):
            self._rows += coco_rows(found, target.image_id, label_map)

    def on_predict_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Bring the ranks' rows together and write them."""
        parts: list[Any] = [self._rows]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            dist.all_gather_object(parts, self._rows)
        if trainer.is_global_zero:
            rows = [row for part in parts for row in part]
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(rows))
            rank_zero_info(f"{len(rows)} detections are in {self.path}.")
        self._rows = []


def coco_rows(found: Detections, image_id: str, label_map: LabelMap | None) -> list[dict[str, Any]]:
    """One image's detections as rows of a COCO results file, boxes XYWH in original pixels."""
    source_ids = None if label_map is None else label_map.source_ids
    corners, sizes = found.boxes[:, :2], found.boxes[:, 2:] - found.boxes[:, :2]
    return [
        {
            "image_id": int(image_id) if image_id.isdigit() else image_id,
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
