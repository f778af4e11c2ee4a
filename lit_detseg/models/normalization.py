"""From pixels as decoded to what a network was trained on.

Mean, scale and channel order belong to the weights. They are buffers, so they travel with the
weights: a checkpoint of a network fine-tuned from Caffe weights brings its BGR order along, even
into a model that was built with other statistics.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lit_detseg.structures import Images, UserError


class PixelStatistics(NamedTuple):
    """How the training images of a network were normalised; grey levels 0 .. 255."""

    mean: tuple[float, float, float]  # in `channel_order`
    std: tuple[float, float, float]  # in `channel_order`
    channel_order: str = "rgb"  # or "bgr"


# ImageNet's, as in every torchvision recipe: (0.485, 0.456, 0.406) and (0.229, 0.224, 0.225).
TORCHVISION = PixelStatistics(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))

# Caffe's model zoo. Fast and Faster R-CNN subtract 102.98, 115.95, 122.77: within 1.1 grey levels.
CAFFE = PixelStatistics(mean=(104.0, 117.0, 123.0), std=(1.0, 1.0, 1.0), channel_order="bgr")


class PixelNormalization(nn.Module):
    """Order the channels, subtract the mean, divide by the deviation, blank the padding.

    Args:
        mean: grey levels 0 .. 255, in `channel_order`.
        std: grey levels, in `channel_order`.
        channel_order: `rgb` or `bgr`, what the network reads; images are always RGB.

    Raises:
        UserError: when the channel order is neither.
    """

    order: Tensor  # (3,) int64, which channel of the image goes where
    mean: Tensor  # (3, 1, 1)
    std: Tensor  # (3, 1, 1)

    def __init__(
        self,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        channel_order: str = "rgb",
    ) -> None:
        super().__init__()
        if sorted(channel_order) != ["b", "g", "r"]:
            raise UserError(f'channel_order = "{channel_order}": use "rgb" or "bgr".')
        self.register_buffer("order", torch.tensor(["rgb".index(name) for name in channel_order]))
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Images) -> Float[Tensor, "batch 3 height width"]:
        """Normalised pixels; exactly 0, the mean colour, to the right of and below each image.

        Padding is blanked after the mean is subtracted, as Caffe does: black padding would be a
        strong edge along the border of every image that is smaller than its batch.
        """
        pixels = images.pixels.to(self.mean.dtype).index_select(1, self.order)
        normalised = (pixels - self.mean) / self.std
        inside = inside_image(images.sizes, pixels.shape[-2], pixels.shape[-1])
        return normalised * inside[:, None]

    def each_alone(self, images: Images) -> list[Float[Tensor, "3 _ _"]]:
        """Normalised pixels of each image, without the padding that its batch gave it."""
        sizes = images.sizes.tolist()
        pixels = zip(self(images), sizes, strict=True)
        return [image[:, :height, :width] for image, (height, width) in pixels]


def inside_image(
    sizes: Int[Tensor, "batch 2"], height: int, width: int
) -> Bool[Tensor, "batch {height} {width}"]:
    """True where a padded batch of `height` x `width` pixels shows an image.

    >>> inside_image(torch.tensor([[1, 2]]), 2, 3).int()
    tensor([[[1, 1, 0],
             [0, 0, 0]]], dtype=torch.int32)
    """
    rows = torch.arange(height, device=sizes.device) < sizes[:, :1]
    columns = torch.arange(width, device=sizes.device) < sizes[:, 1:]
    return rows[:, :, None] & columns[:, None, :]
