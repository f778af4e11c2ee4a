"""The contract between an architecture and everything above it."""

from abc import ABC, abstractmethod
from typing import overload

from jaxtyping import Float, Int
from torch import Tensor, nn

from lit_detseg.structures import BoxTarget, Detections, Images, UserError


class Detector(nn.Module, ABC):
    """Images in; losses out when there are targets, detections out when there are none.

    Call the module itself, `detector(images, targets)`, never the two methods: `forward` is the
    door through which DDP, FSDP and `torch.compile` see the model.

    Every loss is finite on a batch without objects, the names of the losses never change, and
    every trainable parameter gets a gradient from their sum (DDP waits for each of them).
    """

    @overload
    def forward(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]: ...
    @overload
    def forward(self, images: Images, targets: None = None) -> list[Detections]: ...
    def forward(
        self, images: Images, targets: list[BoxTarget] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """Dispatch on the presence of `targets`, not on `self.training`."""
        return self.detect(images) if targets is None else self.compute_losses(images, targets)

    @abstractmethod
    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """Named scalars, already weighted as in the paper; their sum is minimised."""

    @abstractmethod
    def detect(self, images: Images) -> list[Detections]:
        """One `Detections` per image, after thresholding and NMS."""


def seeds_of(images: Images) -> Int[Tensor, " images"]:
    """The seed of each image; 0 where the data give none."""
    return images.sizes.new_zeros(len(images.sizes)) if images.seeds is None else images.seeds


def proposals_of(images: Images) -> list[Float[Tensor, "_ 4"]]:
    """The proposals that came with the images, for detectors that make none.

    Raises:
        UserError: when there are none.
    """
    if images.proposals is None:
        raise UserError(
            "This detector judges region proposals, and the data bring none. Compute them with "
            "`lit-detseg propose SHARDS --method selective_search` for each set of shards, and "
            "name them: --data.proposals=selective_search."
        )
    return images.proposals
