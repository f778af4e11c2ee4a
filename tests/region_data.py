"""Region proposals without a program that proposes: a grid of boxes over every image."""

from typing import Any

import torch
from torch import Tensor

from lit_detseg.data import ShapesDataModule
from lit_detseg.structures import DetectionBatch

SHAPES = ((12, 12), (16, 16), (24, 16), (16, 24), (24, 24), (32, 32), (44, 30), (30, 44))


def grid_boxes(height: int, width: int, step: int = 8) -> Tensor:
    """Boxes of several shapes, a few pixels apart, that lie within an image."""
    boxes = [
        [x, y, x + box_width, y + box_height]
        for box_width, box_height in SHAPES
        for y in range(0, height - box_height + 1, step)
        for x in range(0, width - box_width + 1, step)
    ]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


class GridShapesDataModule(ShapesDataModule):
    """Drawn shapes, whose every image comes with the same grid of proposals.

    Args:
        step: pixels between two of them.
        options: see `ShardDataModule`.
    """

    def __init__(self, step: int = 8, tail: str = "wrap", **options: Any) -> None:
        super().__init__(tail=tail, **options)
        self.step = step

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> DetectionBatch:
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        proposals = [
            grid_boxes(height, width, self.step).to(batch.images.pixels.device)
            for height, width in batch.images.sizes.tolist()
        ]
        return batch._replace(images=batch.images._replace(proposals=proposals))
