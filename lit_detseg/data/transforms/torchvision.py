"""Transforms of torchvision in a list of ours."""

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from lit_detseg.data.transforms.base import Sample, Transform
from lit_detseg.structures import UserError


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
            "labels": torch.arange(len(sample.items)),
        }
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random.integers(2**63)))
            outputs = self.transform(inputs)
        if outputs["image"].dtype != torch.uint8:
            raise UserError(
                f"{type(self.transform).__name__} makes {outputs['image'].dtype} pixels: "
                "images stay uint8 until the model normalises them. Remove it."
            )
        kept = outputs["labels"].numpy()
        return Sample(
            np.ascontiguousarray(outputs["image"].numpy().transpose(1, 2, 0)),
            outputs["boxes"].numpy().reshape(-1, 4),
            tuple(sample.items[number] for number in kept),
            sample.placements[kept],  # TODO masks
            sample.windows[kept],
        )
