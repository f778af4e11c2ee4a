"""SPP-net (arXiv:1406.4729): a network that looks at the image once, and pools its regions."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from lit_detseg.assignment.sampling import SCALES, draw_priorities
from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.backbones.fully_connected import fc6_fc7
from lit_detseg.models.detector import seeds_of
from lit_detseg.models.region_classifier import RegionClassifier
from lit_detseg.ops.pooling import closest_scale, pool_pyramid, window_cells
from lit_detseg.structures import Images

PAPER_SCALES = (480, 576, 688, 864, 1200)  # the program has 874 in place of 864
PAPER_LEVELS = (6, 3, 2, 1)


class SPPNetDetector(RegionClassifier):
    """Convolve the image at a few scales, and pool a pyramid out of every window (section 4.1).

    R-CNN runs its network once for each of two thousand regions; here they share the convolutions,
    and only fc6 and fc7 see each one. What is pooled passes no gradient on: the convolutions never
    learn.

    A window is pooled at the scale at which it has closest to 224 x 224 pixels. In fine-tuning the
    scale is drawn for each window, as in the program; not so where features were computed before.

    Args:
        backbone: its last map is pooled.
        num_classes: without background.
        layers: fc6 and fc7, from a pyramid to features; see `pyramid_layers`.
        num_features: numbers in fc7.
        scales: lengths to which the image's shorter side is resized, whatever it is in the data.
        levels: bins along each side of each grid of the pyramid.
        first_middle: middle of what the backbone's first cell sees, in pixels, see
            `lit_detseg.ops.pooling.window_cells`: 0.5 for ZF and AlexNets, 8 for VGG-16, 10.5 for
            SqueezeNet.
        classifier: see `RegionClassifier`.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        layers: nn.Module,
        num_features: int,
        scales: Sequence[int] = PAPER_SCALES,
        levels: Sequence[int] = PAPER_LEVELS,
        first_middle: float = 0.5,
        **classifier: Any,
    ) -> None:
        num_pooled = backbone.out_channels * bins_of(levels)
        super().__init__(num_classes, num_pooled, layers, num_features, **classifier)
        self.backbone = backbone.requires_grad_(False)
        self.scales, self.levels = tuple(scales), tuple(levels)
        self.first_middle = first_middle

    def region_features(
        self, images: Images, boxes: list[Float[Tensor, "_ 4"]]
    ) -> list[Float[Tensor, "_ pooled"]]:
        """Convolve each image once per scale; pool each window where it is of ImageNet's size."""
        factors = self.scale_factors(images)
        best = [closest_scale(of_image, row) for of_image, row in zip(boxes, factors, strict=True)]
        return self._pool(images, boxes, best, factors)

    def training_features(
        self, images: Images, boxes: list[Float[Tensor, "_ 4"]]
    ) -> list[Float[Tensor, "_ pooled"]]:
        """The same at a scale that is drawn for each window."""
        drawn = [
            draw_priorities(seed, SCALES, torch.arange(len(of_image), device=of_image.device))
            % len(self.scales)
            for of_image, seed in zip(boxes, seeds_of(images), strict=True)
        ]
        return self._pool(images, boxes, drawn, self.scale_factors(images))

    def feature_settings(self) -> dict[str, Any]:
        """At which scales, and into which bins, windows are pooled."""
        return {
            "scales": list(self.scales),
            "levels": list(self.levels),
            "first_middle": self.first_middle,
        }

    def scale_factors(self, images: Images) -> list[list[float]]:
        """What the sides of each image are multiplied by at each scale."""
        return [[side / min(size) for side in self.scales] for size in images.sizes.tolist()]

    @torch.no_grad()
    def _pool(
        self,
        images: Images,
        boxes: list[Float[Tensor, "_ 4"]],
        scales: list[Int[Tensor, " _"]],
        factors: list[list[float]],
    ) -> list[Float[Tensor, "_ pooled"]]:
        pixels = self.backbone.normalization.each_alone(images)
        of_images = zip(pixels, boxes, scales, factors, strict=True)
        return [self._pool_in_image(*of_image) for of_image in of_images]

    def _pool_in_image(
        self,
        image: Float[Tensor, "3 height width"],
        windows: Float[Tensor, "windows 4"],
        scales: Int[Tensor, " windows"],
        factors: list[float],
    ) -> Float[Tensor, "windows pooled"]:
        """Scales at which there is no window are not computed."""
        pooled = windows.new_zeros(len(windows), self.num_pooled)
        for number in scales.unique().tolist():
            chosen = scales == number
            resized, stretch = resize(image, factors[number])
            # On CPUs twice as fast as planes one after the other.
            pixels = resized[None].contiguous(memory_format=torch.channels_last)
            feature = self.backbone.extract(pixels)[-1][0]
            cells = window_cells(
                windows[chosen] * stretch,
                (feature.shape[1], feature.shape[2]),
                self.backbone.strides[-1],
                self.first_middle,
            )
            pooled[chosen] = pool_pyramid(feature, cells, self.levels).to(pooled)
        return pooled


def resize(
    image: Float[Tensor, "3 height width"], factor: float
) -> tuple[Float[Tensor, "3 new_height new_width"], Float[Tensor, "4"]]:
    """The image at `factor` times its size, in whole pixels, and what that does to XYXY boxes.

    Bilinear, without smoothing when it becomes smaller, as in the program.
    """
    height, width = image.shape[1:]
    new_size = (max(round(height * factor), 1), max(round(width * factor), 1))
    resized = F.interpolate(image[None], new_size, mode="bilinear", align_corners=False)[0]
    return resized, image.new_tensor([new_size[1] / width, new_size[0] / height]).repeat(2)


def pyramid_layers(
    channels: int, levels: Sequence[int] = PAPER_LEVELS, width: int = 4096
) -> nn.Module:
    """fc6 and fc7 on a pyramid, as SPP-net starts them: weights of deviation 0.01, biases of 1.

    Args:
        channels: of the map that is pooled.
        levels: bins along each side of each grid.
        width: of both layers.
    """
    layers = fc6_fc7(channels * bins_of(levels), width)
    for name, parameter in layers.named_parameters():
        if name.endswith("weight"):
            nn.init.normal_(parameter, std=0.01)
        else:
            nn.init.ones_(parameter)
    return layers


def bins_of(levels: Sequence[int]) -> int:
    """Bins in all grids: 50 in the paper's pyramid."""
    return sum(bins**2 for bins in levels)
