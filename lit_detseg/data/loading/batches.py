"""From the slots of a step to a batch, packed for the way from a loader worker to the device.

A batch of B images crosses the PCIe bus as five tensors (six with proposals), whatever the number
of objects; the one tensor per image and field that models like is cut from them afterwards. Masks,
void regions and all that metrics read stay arrays on the CPU.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_detseg.data.loading.proposals import PackedProposals, pack_proposals, split_proposals
from lit_detseg.data.loading.sample_checks import (
    check_evaluated,
    check_keeps_proposals,
    check_lengths,
)
from lit_detseg.data.order import Slots
from lit_detseg.data.proposals.reader import ProposalReader
from lit_detseg.data.records import Object, Record
from lit_detseg.data.shards import ShardReader
from lit_detseg.data.transforms.base import Sample, Transform, apply, inside_canvas
from lit_detseg.ops.masks import pack_masks, split_masks
from lit_detseg.structures import BoxTarget, DetectionBatch, Images, InstanceMasks


class Annotations(NamedTuple):
    """What metrics read, in pixels of the original image. Arrays, so that they stay on the CPU.

    In training, objects that a transform mixed in from another image keep the values that were
    annotated there, whatever else was done to them.
    """

    image_ids: list[str]  # length B
    counts: np.ndarray  # (B,) int64, objects of each image; they sum to O
    original_sizes: np.ndarray  # (B, 2) int64, height and width
    original_boxes: np.ndarray  # (O, 4) float64 XYXY
    areas: np.ndarray  # (O,) float64
    is_crowd: np.ndarray  # (O,) bool
    is_difficult: np.ndarray  # (O,) bool
    placements: np.ndarray  # (B, 4) float64, where each image stands in the resized one
    source_ids: list[int | str | None]  # length B
    voids: list[dict[str, Any] | None] | None = None  # length B; None: no image has any


class PackedBatch(NamedTuple):
    """A `DetectionBatch` of B images and O objects in a few flat pieces."""

    pixels: Tensor  # (B, 3, H, W) uint8, RGB, padded with 0 to the right and below
    sizes: Tensor  # (B, 2) int64, height and width before padding
    boxes: Tensor  # (O, 4) float32 XYXY, pixels of the resized image
    labels: Tensor  # (O,) int64
    seeds: Tensor | None  # (B,) int64; training only
    annotations: Annotations
    masks: InstanceMasks | None = None  # of the O objects, where masks were asked for
    proposals: PackedProposals | None = None  # where they were asked for


class BatchReader(Dataset[PackedBatch]):
    """The batch of given slots: read, transform, pack.

    Args:
        reader: where images and records come from.
        transforms: applied in turn to each image.
        training: leave out crowds, objects marked difficult, and what the transforms move out of
            the image. In evaluation each object stays, with its flags.
        train_on_difficult: keep the difficult ones in training too.
        size_divisor: pad height and width up to a multiple of it.
        masks: read the instance masks too; otherwise they are skipped.
        proposals: where the proposals of the reader's images come from, if they are wanted.

    Raises:
        UserError: when proposals are wanted and a transform loses them.
    """

    def __init__(
        self,
        reader: ShardReader,
        transforms: Sequence[Transform] = (),
        training: bool = False,
        train_on_difficult: bool = False,
        size_divisor: int = 1,
        masks: bool = False,
        proposals: ProposalReader | None = None,
    ) -> None:
        if proposals is not None:
            check_keeps_proposals(transforms)
        self.reader = reader
        self.transforms = tuple(transforms)
        self.training = training
        self.train_on_difficult = train_on_difficult
        self.size_divisor = size_divisor
        self.masks = masks
        self.proposals = proposals

    def __getitem__(self, slots: Slots) -> PackedBatch:
        """Read all images of one rank at one step."""
        images, batch = self.read(slots)
        canvas = np.empty(batch.pixels.shape, dtype=np.uint8)
        lay_out(images, canvas)
        return batch._replace(pixels=torch.from_numpy(canvas))

    def read(self, slots: Slots) -> tuple[list[np.ndarray], PackedBatch]:
        """The images of one rank at one step, and their batch with pixels yet to be written.

        Returns:
            B images, (H, W, 3) uint8; a batch whose `pixels` are a shape without memory
            (device "meta"), so that the caller says where `lay_out` writes them.

        Raises:
            UserError: when a transform changes which objects there are in evaluation, or the fields
            of one image differ in length.
        """
        # Evaluation is to be the same each time, whatever the transforms.
        seeds = np.zeros_like(slots.samples) if slots.seeds is None else slots.seeds
        transforms = [one.at_step(slots.step, slots.run_seed) for one in self.transforms]
        companions = np.zeros((len(seeds), 0)) if slots.companions is None else slots.companions
        rows = zip(slots.samples.tolist(), seeds.tolist(), companions.tolist(), strict=True)
        read = [self._sample(*row, transforms) for row in rows]
        samples = [sample for sample, _ in read]
        batch = _without_pixels(samples, [own for _, (own, *_) in read], self.size_divisor)
        if self.masks:
            batch = batch._replace(masks=_masks(samples, [r for _, of_one in read for r in of_one]))
        if self.proposals is not None:
            packed = pack_proposals(self.proposals, slots.samples.tolist(), samples)
            batch = batch._replace(proposals=packed)
        facts = batch.annotations
        if self.training:
            # Whatever is still here is to be learned from: no detector shall leave it out again.
            nothing = np.zeros_like(facts.is_difficult)
            batch = batch._replace(annotations=facts._replace(is_difficult=nothing, voids=None))
        if slots.seeds is not None:
            batch = batch._replace(seeds=torch.from_numpy(slots.seeds))
        return [sample.image for sample in samples], batch

    def _sample(
        self, number: int, seed: int, companions: list[int], transforms: Sequence[Transform]
    ) -> tuple[Sample, list[Record]]:
        """A transformed image, its record and those of the images mixed in."""
        read: list[Record] = []
        others = [partial(self._companion, number, read) for number in companions]
        raw = self._raw(number, read)
        sample = apply(transforms, raw, seed, others)
        check_lengths(sample, read[0].image_id)
        if self.training:
            return inside_canvas(sample), read
        check_evaluated(raw, sample, read[0].image_id)
        return sample, read

    def _raw(self, number: int, read: list[Record]) -> Sample:
        image, record = self.reader.read(number, masks=self.masks)
        read.append(record)
        items = record.objects
        if self.training:
            items = tuple(filter(self._is_learned, items))
        return Sample.from_objects(image, items)

    def _companion(
        self, number: int, read: list[Record], transforms: Sequence[Transform], seed: int
    ) -> Sample:
        return apply(transforms, self._raw(number, read), seed)

    def _is_learned(self, item: Object) -> bool:
        """Whether an object becomes a target of training."""
        return not item.is_crowd and (self.train_on_difficult or not item.is_difficult)


def lay_out(images: Sequence[np.ndarray], canvas: np.ndarray) -> None:
    """Write images plane by plane, and 0 to the right of and below each.

    Args:
        images: B of them, (H, W, 3) uint8, none larger than the canvas.
        canvas: (B, 3, H, W) uint8, overwritten.
    """
    for image, planes in zip(images, canvas, strict=True):
        height, width = image.shape[:2]
        # In place, and three times as fast as numpy's assignment of a transposed array.
        targets = [plane[:height, :width] for plane in planes]
        cv2.mixChannels([np.ascontiguousarray(image)], targets, [0, 0, 1, 1, 2, 2])
        planes[:, :, width:] = 0
        planes[:, height:, :width] = 0


def _without_pixels(
    samples: Sequence[Sample],
    records: Sequence[Record],
    size_divisor: int,
) -> PackedBatch:
    """Objects end to end, and room for images side by side.

    Args:
        samples: B transformed images, maybe none.
        records: their records.
        size_divisor: pad height and width up to a multiple of it.
    """
    sizes = np.array([s.image.shape[:2] for s in samples], dtype=np.int64).reshape(-1, 2)
    height, width = -(-sizes.max(axis=0, initial=1) // size_divisor) * size_divisor
    boxes = np.concatenate([np.zeros((0, 4)), *(sample.boxes for sample in samples)])
    items = [item for sample in samples for item in sample.items]
    return PackedBatch(
        pixels=torch.empty((len(samples), 3, height, width), dtype=torch.uint8, device="meta"),
        sizes=torch.from_numpy(sizes),
        boxes=torch.from_numpy(boxes.astype(np.float32)),
        labels=torch.from_numpy(np.array([item.label for item in items], dtype=np.int64)),
        seeds=None,
        annotations=_annotations(samples, records, items),
    )


def _annotations(
    samples: Sequence[Sample], records: Sequence[Record], items: Sequence[Object]
) -> Annotations:
    has_void = any(record.void is not None for record in records)
    return Annotations(
        image_ids=[record.image_id for record in records],
        counts=np.array([len(sample.items) for sample in samples], dtype=np.int64),
        original_sizes=np.array([(r.height, r.width) for r in records], np.int64).reshape(-1, 2),
        original_boxes=np.array([item.box for item in items], np.float64).reshape(-1, 4),
        areas=np.array([item.area for item in items], dtype=np.float64),
        is_crowd=np.array([item.is_crowd for item in items], dtype=np.bool_),
        is_difficult=np.array([item.is_difficult for item in items], dtype=np.bool_),
        placements=np.array([s.placement for s in samples], np.float64).reshape(-1, 4),
        source_ids=[record.source_id for record in records],
        voids=[record.void for record in records] if has_void else None,
    )


def _masks(samples: Sequence[Sample], records: Sequence[Record]) -> InstanceMasks:
    """The masks of all objects.

    Args:
        samples: B transformed images.
        records: all that were read for them, those of mixed-in images too.
    """
    # An object does not say on how large an image it was annotated; its record does. One that a
    # transform has redrawn is in no record: its mask is an RLE, which knows its size.
    known = {id(item): (r.height, r.width) for r in records for item in r.objects}
    sizes = [
        known.get(id(item), sample.image.shape[:2]) for sample in samples for item in sample.items
    ]
    nothing = np.zeros((0, 4))
    return pack_masks(
        [item.mask for sample in samples for item in sample.items],
        sizes,
        np.concatenate([nothing, *(sample.placements for sample in samples)]),
        np.concatenate([nothing, *(sample.windows for sample in samples)]),
    )


def unpack_batch(packed: PackedBatch) -> DetectionBatch:
    """Cut a packed batch into one target per image, without a copy from or to the device.

    Returns:
        Pixels, sizes, seeds, boxes and labels on the device of the packed batch; masks, flags and
        all that is in pixels of the original image on the CPU, where metrics work.
    """
    facts = packed.annotations
    counts = facts.counts.tolist()
    nothing = [None] * len(counts)
    targets = [
        BoxTarget(boxes, labels, image_id, (height, width), *per_image)
        for boxes, labels, image_id, (height, width), *per_image in zip(
            packed.boxes.split(counts),
            packed.labels.split(counts),
            facts.image_ids,
            facts.original_sizes.tolist(),
            torch.from_numpy(facts.is_crowd).split(counts),
            torch.from_numpy(facts.is_difficult).split(counts),
            torch.from_numpy(facts.original_boxes).split(counts),
            torch.from_numpy(facts.areas).split(counts),
            nothing if packed.masks is None else split_masks(packed.masks, counts),
            nothing if facts.voids is None else facts.voids,
            map(tuple, facts.placements.tolist()),
            facts.source_ids,
            strict=True,
        )
    ]
    proposals = split_proposals(packed.proposals)
    return DetectionBatch(Images(packed.pixels, packed.sizes, proposals, packed.seeds), targets)
