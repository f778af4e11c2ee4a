"""Region proposals without a program that proposes, and tiny systems that judge them."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning import Callback
from torch import Tensor

from lit_detseg.data import ShapesDataModule
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.data.records import Object, RawSample
from lit_detseg.data.shard_sets import Split
from lit_detseg.modules import RCNN, SPPNet
from lit_detseg.modules.rcnn_pass import RegionPass
from lit_detseg.structures import DetectionBatch, LabelMap
from tests.callbacks.tiny import tiny_trainer
from tests.tiny_detection import TinyBackbone, tiny_region_network

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


class PlainShapesReader(ShapesReader):
    """Grey images of 64 pixels with one to three rectangles apart, red, green or blue: easy."""

    label_map = LabelMap(("red", "green", "blue"))

    def _sample(self, number: int) -> RawSample:
        generator = np.random.default_rng([self.seed, number])
        pixels = generator.integers(90, 130, (64, 64, 3)).astype(np.uint8)
        objects = []
        for corner in generator.permutation([(0, 0), (32, 0), (0, 32), (32, 32)])[:3]:
            width, height = generator.integers(14, 30, 2)
            x, y = corner + generator.integers(0, 32 - np.array([width, height]) + 1)
            label = int(generator.integers(3))
            pixels[y : y + height, x : x + width] = 30
            pixels[y : y + height, x : x + width, label] = 220
            box = (float(x), float(y), float(x + width), float(y + height))
            objects.append(Object(box, label, float(width * height)))
            if generator.random() < 0.3:
                break
        png = cv2.imencode(".png", pixels[:, :, ::-1])[1].tobytes()
        key = f"{number:08d}"
        return RawSample(key, png, 64, 64, tuple(objects), number, f"{key}.png")


class GridShapesDataModule(ShapesDataModule):
    """Drawn shapes of 64 pixels, whose every image comes with the same grid of proposals.

    Args:
        step: pixels between two of them.
        options: see `ShardDataModule`.
    """

    def __init__(self, step: int = 8, tail: str = "wrap", **options: Any) -> None:
        super().__init__(tail=tail, **options)
        self.step = step

    def num_proposals(self, split: Split) -> dict[str, int]:
        count = len(grid_boxes(64, 64, self.step))
        return dict.fromkeys(self.sets.reader(split).keys.tolist(), count)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> DetectionBatch:
        batch = super().on_after_batch_transfer(batch, dataloader_idx)
        proposals = [
            grid_boxes(height, width, self.step).to(batch.images.pixels.device)
            for height, width in batch.images.sizes.tolist()
        ]
        return batch._replace(images=batch.images._replace(proposals=proposals))


def region_data(shards: Path, batch: int = 4, **options: Any) -> GridShapesDataModule:
    """The shapes of the `shards` fixture, with a coarse grid of proposals."""
    options = {"num_workers": 0, "step": 16, **options}
    return GridShapesDataModule(
        train=str(shards / "train"), val=str(shards / "val"), total_batch_size=batch, **options
    )


def tiny_rcnn_module(**options: Any) -> RCNN:
    """R-CNN with a tiny network; the same each time."""
    network = tiny_region_network()
    return RCNN(3, network=network, **options)


def tiny_spp_net_module(**options: Any) -> SPPNet:
    """SPP-net with a tiny network; the same each time."""
    torch.manual_seed(0)
    options = {"scales": (48, 64), "levels": (2, 1), "first_middle": 4.0, **options}
    return SPPNet(3, backbone=TinyBackbone(), head_width=32, **options)


def one_pass(stage: RegionPass, data: Any, folder: Path, *callbacks: Callback, **options: Any):
    """Run a stage from its beginning to its end, or continue it (`ckpt_path`)."""
    ckpt_path = options.pop("ckpt_path", None)
    options = {"max_epochs": stage.passes, "limit_val_batches": 0, **options}
    trainer = tiny_trainer(folder, *callbacks, **options)
    trainer.fit(stage, data, ckpt_path=ckpt_path)
    return trainer
