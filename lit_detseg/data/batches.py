"""From the slots of a step to a batch, packed for the way from a loader worker to the device.

A batch of B images crosses the process boundary and the PCIe bus as five tensors, whatever the
number of objects; the one tensor per image and field that models like is cut from them afterwards.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_detseg.data.order import Slots
from lit_detseg.data.records import Object, Record
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms.base import Sample, Transform, apply, inside_canvas
from lit_detseg.structures import BoxTarget, DetectionBatch, Images, InstanceMasks


class Annotations(NamedTuple):
    """What metrics read, in pixels of the original image. Arrays, so that they stay on the CPU."""

    image_ids: list[str]  # length B
    counts: np.ndarray  # (B,) int64, objects of each image; they sum to O
    original_sizes: np.ndarray  # (B, 2) int64, height and width
    original_boxes: np.ndarray  # (O, 4) float64 XYXY
    areas: np.ndarray  # (O,) float64
    is_crowd: np.ndarray  # (O,) bool
    is_difficult: np.ndarray  # (O,) bool


class PackedBatch(NamedTuple):
    """A `DetectionBatch` of B images and O objects in a few flat pieces."""

    pixels: Tensor  # (B, H, W, 3) uint8, RGB, padded with 0 to the right and below
    sizes: Tensor  # (B, 2) int64, height and width before padding
    boxes: Tensor  # (O, 4) float32 XYXY, pixels of the resized image
    labels: Tensor  # (O,) int64
    seeds: Tensor | None  # (B,) int64; training only
    annotations: Annotations
    masks: InstanceMasks | None = None  # of the O objects, where masks were asked for


class BatchReader(Dataset[PackedBatch]):
    """The batch of given slots: read, transform, pack.

    Args:
        reader: where images and records come from.
        transforms: applied in turn to each image.
        training: leave out crowds, objects marked difficult, and what the transforms move out of
            the image. In evaluation each object stays, with its flags.
        train_on_difficult: keep the difficult ones in training too.
        size_divisor: pad height and width up to a multiple of it.
    """

    def __init__(
        self,
        reader: ShardReader,
        transforms: Sequence[Transform] = (),
        training: bool = False,
        train_on_difficult: bool = False,
        size_divisor: int = 1,
    ) -> None:
        self.reader = reader
        self.transforms = tuple(transforms)
        self.training = training
        self.train_on_difficult = train_on_difficult
        self.size_divisor = size_divisor

    def __getitem__(self, slots: Slots) -> PackedBatch:
        """Read all images of one rank at one step."""
        # Evaluation is to be the same each time, whatever the transforms.
        seeds = np.zeros_like(slots.samples) if slots.seeds is None else slots.seeds
        transforms = [one.at_step(slots.step, slots.run_seed) for one in self.transforms]
        companions = np.zeros((len(seeds), 0)) if slots.companions is None else slots.companions
        rows = zip(slots.samples.tolist(), seeds.tolist(), companions.tolist(), strict=True)
        pairs = [self._read(*row, transforms) for row in rows]
        packed = pack_batch([s for s, _ in pairs], [r for _, r in pairs], self.size_divisor)
        if slots.seeds is None:
            return packed
        # Whatever is still here is to be learned from: no detector shall leave it out again.
        facts = packed.annotations
        facts = facts._replace(is_difficult=np.zeros_like(facts.is_difficult))
        return packed._replace(seeds=torch.from_numpy(slots.seeds), annotations=facts)

    def _read(
        self, number: int, seed: int, companions: list[int], transforms: Sequence[Transform]
    ) -> tuple[Sample, Record]:
        sample, record = self._raw(number)
        others = [partial(self._companion, number) for number in companions]
        sample = apply(transforms, sample, seed, others)
        return (inside_canvas(sample) if self.training else sample), record

    def _raw(self, number: int) -> tuple[Sample, Record]:
        image, record = self.reader.read(number)
        items = record.objects
        if self.training:
            items = tuple(filter(self._is_learned, items))
        return Sample.from_objects(image, items), record

    def _companion(self, number: int, transforms: Sequence[Transform], seed: int) -> Sample:
        return apply(transforms, self._raw(number)[0], seed)

    def _is_learned(self, item: Object) -> bool:
        """Whether an object becomes a target of training."""
        return not item.is_crowd and (self.train_on_difficult or not item.is_difficult)


def pack_batch(
    samples: Sequence[Sample], records: Sequence[Record], size_divisor: int = 1
) -> PackedBatch:
    """Lay images side by side and objects end to end.

    Args:
        samples: B transformed images, maybe none.
        records: their records.
        size_divisor: pad height and width up to a multiple of it.
    """
    sizes = np.array([s.image.shape[:2] for s in samples], dtype=np.int64).reshape(-1, 2)
    largest = sizes.max(axis=0, initial=1)
    height, width = -(-largest // size_divisor) * size_divisor
    pixels = np.zeros((len(samples), height, width, 3), dtype=np.uint8)
    for canvas, sample in zip(pixels, samples, strict=True):
        canvas[: sample.image.shape[0], : sample.image.shape[1]] = sample.image
    boxes = np.concatenate([np.zeros((0, 4)), *(sample.boxes for sample in samples)])
    objects = [item for sample in samples for item in sample.items]
    annotations = Annotations(
        image_ids=[record.image_id for record in records],
        counts=np.array([len(sample.boxes) for sample in samples], dtype=np.int64),
        original_sizes=np.array([(r.height, r.width) for r in records], np.int64).reshape(-1, 2),
        original_boxes=np.array([item.box for item in objects], np.float64).reshape(-1, 4),
        areas=np.array([item.area for item in objects], dtype=np.float64),
        is_crowd=np.array([item.is_crowd for item in objects], dtype=np.bool_),
        is_difficult=np.array([item.is_difficult for item in objects], dtype=np.bool_),
    )
    return PackedBatch(
        pixels=torch.from_numpy(pixels),
        sizes=torch.from_numpy(sizes),
        boxes=torch.from_numpy(boxes.astype(np.float32)),
        labels=torch.tensor([item.label for item in objects], dtype=torch.int64),
        seeds=None,
        annotations=annotations,
    )


def unpack_batch(packed: PackedBatch) -> DetectionBatch:
    """Cut a packed batch into one target per image, without a copy from or to the device.

    Returns:
        Pixels, sizes, seeds, boxes and labels on the device of the packed batch; the flags and
        all that is in pixels of the original image on the CPU, where metrics work.
    """
    facts = packed.annotations
    counts = facts.counts.tolist()
    targets = [
        BoxTarget(boxes, labels, image_id, (height, width), crowd, difficult, original, areas)
        for boxes, labels, image_id, (height, width), crowd, difficult, original, areas in zip(
            packed.boxes.split(counts),
            packed.labels.split(counts),
            facts.image_ids,
            facts.original_sizes.tolist(),
            torch.from_numpy(facts.is_crowd).split(counts),
            torch.from_numpy(facts.is_difficult).split(counts),
            torch.from_numpy(facts.original_boxes).split(counts),
            torch.from_numpy(facts.areas).split(counts),
            strict=True,
        )
    ]
    pixels = packed.pixels.permute(0, 3, 1, 2).contiguous()
    return DetectionBatch(Images(pixels, packed.sizes, seeds=packed.seeds), targets)
