"""The ways from a packed or raw COCO-like set to training batches that `bench data` compares.

All resize to 800 x 1066, flip half of the images, and give boxes, labels and masks of each object,
four images a batch.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from lit_detseg.data.loading.batches import BatchReader, unpack_batch
from lit_detseg.data.loading.loader import PositionedLoader
from lit_detseg.data.order import TrainingOrder
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms import RandomHorizontalFlip, ResizeShortestSide
from lit_detseg.ops.masks import rasterise
from lit_detseg.structures import DetectionBatch

BATCH = 4
MIN_SIZE, MAX_SIZE = 800, 1333
MASK_SIDE = 28  # of Mask R-CNN's targets

Epoch = Callable[[], Iterator[int]]  # one epoch of batches; yields the images of each


def torchvision_pipeline(folder: Path, workers: int) -> Epoch:
    """What torchvision's own references do: dense masks and float pixels from the workers."""
    transforms = v2.Compose(
        [
            v2.RandomHorizontalFlip(0.5),
            v2.Resize(MIN_SIZE, max_size=MAX_SIZE),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
        ]
    )
    with redirect_stdout(io.StringIO()):  # pycocotools tells what it does
        raw = CocoDetection(folder / "images", folder / "instances.json", transforms=transforms)
    data = wrap_dataset_for_transforms_v2(raw, target_keys=("boxes", "labels", "masks"))
    loader: DataLoader[Any] = DataLoader(
        data, batch_size=BATCH, shuffle=True, num_workers=workers, collate_fn=_as_lists
    )
    return lambda: (len(images) for images, _ in loader)


def our_loader(shards: Path, workers: int, **options: Any) -> PositionedLoader:
    """Training batches of a shard set, masks included."""
    reader = ShardReader(shards)
    return PositionedLoader(
        our_batches(reader),
        TrainingOrder(reader.shard_lengths, BATCH, tail="wrap"),
        num_workers=workers,
        **options,
    )


def our_batches(reader: ShardReader) -> BatchReader:
    """The same changes of an image as in the other pipeline."""
    changes = [ResizeShortestSide(MIN_SIZE, MAX_SIZE), RandomHorizontalFlip(0.5)]
    return BatchReader(reader, changes, training=True, size_divisor=32, masks=True)


def our_pipeline(shards: Path, workers: int) -> Epoch:
    """Bytes as pixels and masks as points: the model's device makes floats of them."""
    loader = our_loader(shards, workers)
    return lambda: (len(unpack_batch(packed).targets) for packed in loader)


def our_dense_pipeline(shards: Path, workers: int) -> Epoch:
    """The same, with float pixels and the masks of Mask R-CNN's head made on the CPU."""
    loader = our_loader(shards, workers)

    def epoch() -> Iterator[int]:
        for packed in loader:
            batch = unpack_batch(packed)
            _make_dense(batch)
            yield len(batch.targets)

    return epoch


def _make_dense(batch: DetectionBatch) -> tuple[torch.Tensor, list[np.ndarray]]:
    """Float pixels, and each object in its box at the resolution of the mask head."""
    pixels = batch.images.pixels.to(torch.float32).div_(255)
    masks = []
    for target in batch.targets:
        assert target.masks is not None  # asked for above
        objects = np.arange(len(target.boxes))
        boxes = target.boxes.numpy().astype(np.float64)
        masks.append(rasterise(target.masks, objects, boxes, MASK_SIDE, MASK_SIDE))
    return pixels, masks


def _as_lists(samples: list[Any]) -> tuple[list[Any], list[Any]]:
    images, targets = zip(*samples, strict=True)
    return list(images), list(targets)
