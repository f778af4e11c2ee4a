"""The contract between a feature extractor and a two-stage detector."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from lit_detseg.models.normalization import PixelNormalization, PixelStatistics
from lit_detseg.structures import Images, UserError

# Fast R-CNN freezes conv1 and conv2 of VGG-16, Detectron conv1 and res2 of ResNet: edges and blobs
# that a detection data set has nothing to teach about.
FROZEN_IF_PRETRAINED = 2


@dataclass(frozen=True, eq=False)
class HeadLayers:
    """What a network does behind the maps that regions are pooled from, to start a box head with.

    Not a part of the backbone's own state: the head that takes the layers owns them.

    Args:
        trunk: map to map; what a mask branch shares with the box branch (res5 of a C4 ResNet).
        layers: map to vector (fc6 and fc7 of VGG-16).
        num_features: length of the vector.
        bins: along each side of the pooled map that `trunk` takes.
        trunk_channels: of the map between the two.
    """

    trunk: nn.Module
    layers: nn.Module
    num_features: int
    bins: int
    trunk_channels: int

    def require_bins(self, bins: int, option: str) -> None:
        """Refuse regions that are pooled to another number of bins.

        Raises:
            UserError: with the option to change.
        """
        if bins != self.bins:
            raise UserError(
                f"RoIs are pooled to {bins} x {bins} bins, but the backbone brings layers for "
                f"{self.bins} x {self.bins}. Set {option} to {self.bins}, or use a backbone "
                "without head layers."
            )


class Backbone(nn.Module, ABC):
    """Feature maps at named strides, from pixels as decoded.

    A map of stride s has ceil(height / s) x ceil(width / s) cells, whatever the image size; cell
    (i, j) stands for the s x s pixels from (i s, j s).

    Attributes:
        head_layers: pretrained layers for a box head, where the network has some.
        is_frozen: whether nothing here learns.

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
        self.head_layers: HeadLayers | None = None
        self.is_frozen = False

    def freeze(self) -> None:
        """Let nothing here learn, neck and statistics of batch normalisation included.

        `head_layers` belong to the head, and learn.
        """
        self.requires_grad_(False)
        self.is_frozen = True
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """What is frozen stays in evaluation mode."""
        super().train(mode and not self.is_frozen)
        return self

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
