"""What tests of detectors start from: two small images, their objects, a tiny feature pyramid."""

import torch
from torch import Tensor, nn

from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.normalization import PixelStatistics
from lit_detseg.structures import BoxTarget, Images

ZERO_TO_ONE = PixelStatistics(mean=(0.0, 0.0, 0.0), std=(255.0, 255.0, 255.0))


class TinyBackbone(Backbone):
    """Maps of strides 4 and 8, eight channels, nothing pretrained."""

    def __init__(self, roi_levels: int = 2) -> None:
        super().__init__((4, 8), 8, ZERO_TO_ONE, roi_levels)
        self.fine = nn.Conv2d(3, 8, kernel_size=5, stride=4, padding=2)
        self.coarse = nn.Conv2d(8, 8, kernel_size=3, stride=2, padding=1)

    def extract(self, pixels: Tensor) -> list[Tensor]:
        fine = self.fine(pixels).relu()
        return [fine, self.coarse(fine).relu()]


def make_target(boxes: list[list[float]], labels: list[int]) -> BoxTarget:
    """Ground truth that is neither crowd nor difficult, in an image that was not resized."""
    xyxy = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    no = torch.zeros(len(boxes), dtype=torch.bool)
    return BoxTarget(
        boxes=xyxy,
        labels=torch.tensor(labels, dtype=torch.int64),
        image_id="image",
        original_size=(64, 96),
        is_crowd=no,
        is_difficult=no,
        original_boxes=xyxy.double(),
        areas=(xyxy[:, 2:] - xyxy[:, :2]).double().prod(dim=1),
    )


def make_images(sizes: list[tuple[int, int]], seeds: list[int] | None = None) -> Images:
    """Noise, padded with black to the largest; the same for the same sizes."""
    generator = torch.Generator().manual_seed(len(sizes))
    height, width = (max(lengths) for lengths in zip(*sizes, strict=True))
    pixels = torch.zeros(len(sizes), 3, height, width, dtype=torch.uint8)
    for image, (h, w) in zip(pixels, sizes, strict=True):
        image[:, :h, :w] = torch.randint(0, 256, (3, h, w), generator=generator)
    if seeds is None:
        seeds = list(range(len(sizes)))
    return Images(pixels, torch.tensor(sizes), seeds=torch.tensor(seeds))
