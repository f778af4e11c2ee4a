"""What happens to an image and its boxes between decoding and the batch.

Images are (H, W, 3) uint8 arrays: OpenCV resizes and flips them several times faster than float
tensors would be, and nothing is rounded twice. A box belongs to the same things in the picture
before and after each transform. Whatever is random comes from the generator that is passed in,
made from the image's seed: the same on any number of ranks and workers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from lit_detseg.data.records import Record
from lit_detseg.structures import UserError


class Sample(NamedTuple):
    """An image and its boxes on their way through the transforms."""

    image: np.ndarray  # (H, W, 3) uint8, RGB
    boxes: np.ndarray  # (N, 4) float64 XYXY, pixels of `image`
    objects: np.ndarray  # (N,) int64, which of the record's objects each box belongs to

    @classmethod
    def from_record(cls, image: np.ndarray, record: Record, objects: Sequence[int]) -> "Sample":
        """The decoded image with some of the objects annotated on it."""
        boxes = [record.objects[number].box for number in objects]
        return cls(
            image,
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            np.array(objects, dtype=np.int64),
        )

    def only(self, kept: np.ndarray) -> "Sample":
        """The sample with some of its boxes, given as (N,) bool."""
        return self._replace(boxes=self.boxes[kept], objects=self.objects[kept])


class Transform(ABC):
    """One change of a sample. A subclass of yours can stand in the YAML under its import path."""

    @abstractmethod
    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Return the changed sample; draw from `random` and from nothing else."""


class ResizeShortestSide(Transform):
    """Bring the shorter side to `min_size`, unless the longer one would exceed `max_size`.

    The rule of Fast R-CNN (arXiv:1504.08083, section 5.2): 600 and 1000 there, 800 and 1333 in
    FPN's successors.

    Args:
        min_size: pixels; of several, one is drawn for each image.
        max_size: pixels, limit of the longer side.
    """

    def __init__(self, min_size: int | list[int], max_size: int) -> None:
        self.min_sizes = [min_size] if isinstance(min_size, int) else list(min_size)
        self.max_size = max_size
        if not self.min_sizes or not 0 < min(self.min_sizes) <= max(self.min_sizes) <= max_size:
            raise UserError(
                f"ResizeShortestSide(min_size={min_size}, max_size={max_size}) is impossible: "
                "each min_size must be from 1 to max_size."
            )

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Resize image and boxes, keeping the aspect ratio up to a pixel's rounding."""
        min_size = self.min_sizes[0]
        if len(self.min_sizes) > 1:
            min_size = self.min_sizes[random.integers(len(self.min_sizes))]
        height, width = sample.image.shape[:2]
        ratio = min(min_size / min(height, width), self.max_size / max(height, width))
        return resize(sample, max(round(height * ratio), 1), max(round(width * ratio), 1))


class Resize(Transform):
    """Bring the image to one size, whatever its aspect ratio (YOLO: 448 x 448, 416 x 416)."""

    def __init__(self, height: int, width: int) -> None:
        if min(height, width) < 1:
            raise UserError(f"Resize({height}, {width}): both sides must be at least 1 pixel.")
        self.height = height
        self.width = width

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Resize image and boxes, each axis by itself."""
        return resize(sample, self.height, self.width)


class RandomHorizontalFlip(Transform):
    """Mirror left and right with a probability."""

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise UserError(f"RandomHorizontalFlip({probability}): give a number from 0 to 1.")
        self.probability = probability

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Flip image and boxes, or neither."""
        if random.random() >= self.probability:
            return sample
        x1, y1, x2, y2 = sample.boxes.T
        width = sample.image.shape[1]
        boxes = np.stack([width - x2, y1, width - x1, y2], axis=1)
        return sample._replace(image=cv2.flip(sample.image, 1), boxes=boxes)


class TorchvisionTransform(Transform):
    """Any transform of `torchvision.transforms.v2`, fed with its own types.

    Its random numbers come from torch's global generator, which is seeded here from the sample's
    and put back afterwards. A transform that removes boxes has to remove their labels too, as
    `SanitizeBoundingBoxes` does. Slower than the transforms above: see the module's docstring.

    Args:
        transform: takes and returns {"image": Image, "boxes": BoundingBoxes, "labels": Tensor};
            the image is (3, H, W) uint8, and has to stay so.
    """

    def __init__(self, transform: v2.Transform) -> None:
        self.transform = transform

    def __call__(self, sample: Sample, random: np.random.Generator) -> Sample:
        """Translate to tv_tensors, transform, translate back."""
        height, width = sample.image.shape[:2]
        inputs = {
            "image": tv_tensors.Image(torch.from_numpy(sample.image.transpose(2, 0, 1).copy())),
            "boxes": tv_tensors.BoundingBoxes(
                torch.from_numpy(sample.boxes), format="XYXY", canvas_size=(height, width)
            ),
            "labels": torch.from_numpy(sample.objects),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.integers(2**63)))
            outputs = self.transform(inputs)
        if outputs["image"].dtype != torch.uint8:
            raise UserError(
                f"{type(self.transform).__name__} makes {outputs['image'].dtype} pixels: "
                "images stay uint8 until the model normalises them. Remove it."
            )
        return Sample(
            np.ascontiguousarray(outputs["image"].numpy().transpose(1, 2, 0)),
            outputs["boxes"].numpy().reshape(-1, 4),
            outputs["labels"].numpy(),
        )


def apply(transforms: Sequence[Transform], sample: Sample, seed: int) -> Sample:
    """Apply transforms in turn, with random numbers that depend on `seed` only."""
    random = np.random.default_rng(seed)
    for transform in transforms:
        sample = transform(sample, random)
    return sample


def resize(sample: Sample, height: int, width: int) -> Sample:
    """The image at another size, and its boxes with it."""
    old_height, old_width = sample.image.shape[:2]
    if (height, width) == (old_height, old_width):
        return sample
    # Linear interpolation looks at 2 x 2 pixels only: beyond a factor of 2 it would skip some.
    shrinks = old_height > 2 * height or old_width > 2 * width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = cv2.resize(sample.image, (width, height), interpolation=method)
    ratio = np.array([width / old_width, height / old_height])
    return sample._replace(image=image, boxes=sample.boxes * np.tile(ratio, 2))


def inside_canvas(sample: Sample) -> Sample:
    """Clip boxes to the image and remove those without area: what training can learn from."""
    height, width = sample.image.shape[:2]
    boxes = sample.boxes.clip(0, [width, height, width, height])
    clipped = sample._replace(boxes=boxes)
    return clipped.only(np.all(boxes[:, 2:] > boxes[:, :2], axis=1))
