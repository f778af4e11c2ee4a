"""The contract between a feature extractor and a two-stage detector."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor, nn

from lit_detseg.models.normalization import PixelNormalization, PixelStatistics
from lit_detseg.structures import Images, UserError

# Fast R-CNN freezes conv1 and conv2 of VGG-16, Detectron conv1 and res2 of ResNet: edges and blobs
# that a detection data set has nothing to teach about.
FROZEN_IF_PRETRAINED = 2


class Backbone(nn.Module, ABC):
    """Feature maps at named strides, from pixels as decoded.

    A map of stride s has ceil(height / s) x ceil(width / s) cells, whatever the image size; cell
    (i, j) stands for the s x s pixels from (i s, j s).

    Args:
        strides: of the returned maps in pixels, finest first.
        out_channels: of every returned map.
        statistics: how the network's training images were normalised.
        roi_levels: how many maps, finest first, describe RoIs; the rest, P6 of a feature pyramid,
            is for the region proposal network alone. All, if not given.
    """

    def __init__(
        self,
        strides: tuple[int, ...],
        out_channels: int,
        statistics: PixelStatistics,
        roi_levels: int | None = None,
    ) -> None:
        super().__init__()
        self.strides = strides
        self.out_channels = out_channels
        self.roi_levels = len(strides) if roi_levels is None else roi_levels
        self.normalization = PixelNormalization(*statistics)
        # Pretrained layers that a box head starts with, (R, 512, 7, 7) -> (R, 4096) for VGG-16.
        self.head_layers: nn.Module | None = None
        self.head_features: int | None = None

    def forward(self, images: Images) -> list[Tensor]:
        """One map (B, `out_channels`, ceil(H / stride), ceil(W / stride)) per stride."""
        return self.extract(self.normalization(images))

    @abstractmethod
    def extract(self, pixels: Float[Tensor, "batch 3 height width"]) -> list[Tensor]:
        """The maps of normalised pixels."""


def freeze_stages(stages: Iterable[nn.Module], trainable: int | None, pretrained: bool) -> None:
    """Let only the last `trainable` of the stages, ordered from the pixels on, learn.

    Without a number: all but the first two when the weights are pretrained, else all.

    Raises:
        UserError: when there are fewer stages than that.
    """
    stages = list(stages)
    if trainable is None:
        trainable = len(stages) - (FROZEN_IF_PRETRAINED if pretrained else 0)
    if not 0 <= trainable <= len(stages):
        raise UserError(
            f"trainable_stages = {trainable}, but this backbone has {len(stages)} stages. "
            f"Give a number from 0 (nothing learns) to {len(stages)} (everything does)."
        )
    for stage in stages[: len(stages) - trainable]:
        stage.requires_grad_(False)
