"""Transforms of torchvision in a list of ours.

They want a mask as one pixel plane per object, through which each of them works its way: seven
masks of 480 x 640 cost some 9 ms in a resize, where four numbers per mask would do. Without masks
nothing of the kind is made.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from lit_detseg.data.records import Object
from lit_detseg.data.transforms.base import UNMOVED, Sample, Transform
from lit_detseg.data.transforms.dense import dense_masks, encode
from lit_detseg.structures import UserError


class TorchvisionTransform(Transform):
    """Any transform of `torchvision.transforms.v2`, fed with its own types.

    Its random numbers come from torch's global generator, which is seeded here from the sample's
    and put back afterwards. A transform that removes boxes has to remove their labels and masks
    too, as `SanitizeBoundingBoxes` does. Where it changes a mask, the mask becomes an RLE in pixels
    of the new image; otherwise it stays as annotated. Slow with masks: see the module's docstring.

    Args:
        transform: takes and returns {"image": Image, "boxes": BoundingBoxes, "labels": Tensor} and,
            if an object has one, "masks": Mask; the image is (3, H, W) uint8, and has to stay so.
    """

    says_where = False

    def __init__(self, transform: v2.Transform) -> None:
        self.transform = transform

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Translate to tv_tensors, transform, translate back."""
        height, width = sample.image.shape[:2]
        inputs: dict[str, Any] = {
            "image": tv_tensors.Image(torch.from_numpy(sample.image.transpose(2, 0, 1).copy())),
            "boxes": tv_tensors.BoundingBoxes(
                torch.from_numpy(sample.boxes.copy()), format="XYXY", canvas_size=(height, width)
            ),
            "labels": torch.arange(len(sample.items)),
        }
        before = None
        if any(item.mask is not None for item in sample.items):
            before = dense_masks(sample)
            inputs["masks"] = tv_tensors.Mask(torch.from_numpy(before.copy()))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.integers(2**63)))
            outputs = self.transform(inputs)
        self._check(outputs, before is not None)
        kept = outputs["labels"].numpy()
        image = np.ascontiguousarray(outputs["image"].numpy().transpose(1, 2, 0))
        boxes = outputs["boxes"].numpy().reshape(-1, 4)
        after = None if before is None else outputs["masks"].numpy()
        same_canvas = image.shape == sample.image.shape
        unmoved = (boxes == sample.boxes[kept]).all(axis=1) & same_canvas
        if before is not None and after is not None and same_canvas:
            unmoved &= (after == before[kept]).all(axis=(1, 2))
        return _translated(sample, image, boxes, kept, unmoved, after)

    def _check(self, outputs: dict[str, Any], masks: bool) -> None:
        name = type(self.transform).__name__
        if outputs["image"].dtype != torch.uint8:
            raise UserError(
                f"{name} makes {outputs['image'].dtype} pixels: images stay uint8 until the model "
                "normalises them. Remove it."
            )
        counts = {key: len(outputs[key]) for key in ("boxes", "labels", *(["masks"] * masks))}
        if len(set(counts.values())) > 1:
            raise UserError(
                f"{name} leaves different numbers of {counts}: what removes an object has to "
                "remove its box, its label and its mask."
            )


def _translated(
    sample: Sample,
    image: np.ndarray,
    boxes: np.ndarray,
    kept: np.ndarray,
    unmoved: np.ndarray,
    masks: np.ndarray | None,
) -> Sample:
    """The objects `kept` with their new boxes, and new masks and placements where they moved."""
    items = [sample.items[number] for number in kept.tolist()]
    placements, windows = sample.placements[kept].copy(), sample.windows[kept].copy()
    for row in np.flatnonzero(~unmoved).tolist():
        windows[row] = [0, 0, image.shape[1], image.shape[0]]
        if masks is None or items[row].mask is None:
            placements[row] = _placement(items[row], boxes[row])
        else:
            items[row] = replace(items[row], mask=encode(masks[row], image.shape[:2]))
            placements[row] = UNMOVED
    # Of a transform that does more than to resize, nothing says where it puts the whole image.
    height, width = np.divide(image.shape[:2], sample.image.shape[:2]).tolist()
    scale_x, scale_y, offset_x, offset_y = sample.placement
    placement = (scale_x * width, scale_y * height, offset_x * width, offset_y * height)
    return Sample(image, boxes, tuple(items), placements, windows, placement)


def _placement(item: Object, box: np.ndarray) -> np.ndarray:
    """What takes an annotated box, of which there is no mask, to where it is now."""
    annotated = np.array(item.box)
    side = annotated[2:] - annotated[:2]
    scale = np.where(side > 0, (box[2:] - box[:2]) / np.where(side > 0, side, 1), 1)
    return np.concatenate([scale, box[:2] - annotated[:2] * scale])
