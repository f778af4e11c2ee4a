"""R-CNN (arXiv:1311.2524): a network that looks at one region at a time."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lit_detseg.models.region_classifier import RegionClassifier
from lit_detseg.models.region_network import RegionNetwork
from lit_detseg.ops.pooling import with_image_index
from lit_detseg.ops.warping import warp_regions
from lit_detseg.structures import Images


class RCNNDetector(RegionClassifier):
    """Cut out every region, warp it to a square, and run the whole network on it (section 2).

    Two thousand regions of an image are two thousand runs of the network: SPP-net runs it once for
    all of them. In fine-tuning everything learns.

    Args:
        network: the convolutions, and how regions become their input.
        num_classes: without background.
        max_crops: that go through the network at a time; memory grows with it, results stay.
        classifier: see `RegionClassifier`.
    """

    def __init__(
        self, network: RegionNetwork, num_classes: int, max_crops: int = 128, **classifier: Any
    ) -> None:
        head = network.head
        super().__init__(
            num_classes, network.num_pooled, head.layers, head.num_features, **classifier
        )
        self.network = network
        self.max_crops = max_crops

    def region_features(
        self, images: Images, boxes: list[Float[Tensor, "_ 4"]]
    ) -> list[Float[Tensor, "_ pooled"]]:
        """Warp every region, and run the whole network on it."""
        pixels = self.network.normalization.each_alone(images)
        regions = with_image_index(boxes).split(self.max_crops)
        pooled = [self.network(self._crops(pixels, some)) for some in regions]
        return list(torch.cat(pooled).split([len(of_image) for of_image in boxes]))

    def feature_settings(self) -> dict[str, Any]:
        """How regions are cropped."""
        return self.network.crops._asdict()

    def _crops(
        self, pixels: list[Float[Tensor, "3 _ _"]], regions: Float[Tensor, "regions 5"]
    ) -> Float[Tensor, "regions 3 side side"]:
        """The crops of some regions, which come image by image."""
        side, context, mode = self.network.crops
        crops = [
            warp_regions(image, regions[regions[:, 0] == number, 1:], side, context, mode)
            for number, image in enumerate(pixels)
        ]
        return torch.cat(crops)
