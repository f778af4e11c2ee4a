"""The third branch of Mask R-CNN (arXiv:1703.06870, section 3): a mask for each region."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lit_detseg.assignment.mask_targets import MaskTargets, roi_mask_targets
from lit_detseg.assignment.roi_sampling import SampledRoIs
from lit_detseg.losses.mask import competing_mask_loss, mask_loss
from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.heads.mask import MaskHead, MaskNorm
from lit_detseg.ops.pooling import RoIPooling, pool_rois
from lit_detseg.structures import BoxTarget, Detections, Images


@dataclass(frozen=True)
class MaskSettings:
    """How regions are pooled for their masks, and what is learned. Defaults: the paper's for FPN.

    Args:
        pooling: see `lit_detseg.ops.pooling.pool_rois`. RoIPool and RoIWarp are the ablation of
            table 2c: they break the alignment from pixel to pixel.
        sampling_ratio: likewise.
        output_size: bins along each side; a mask has twice as many cells, but for a C4 network,
            whose res5 halves 14 bins (or keeps 7).
        classes: `independent`, a sigmoid for each class; `competing`, a softmax over the classes
            and the background (table 2b, the ablation).
        targets: see `lit_detseg.assignment.mask_targets.mask_targets`.
        num_convs: of the head, before the resolution is doubled; None for 4, or none where res5
            stands before the head (figure 4).
        hidden_channels: of the head.
        norm: of the head: `none` as in the paper, or `group` to train from scratch.
    """

    pooling: RoIPooling = "roi_align"
    sampling_ratio: int = 2
    output_size: int = 14
    classes: Literal["independent", "competing"] = "independent"
    targets: MaskTargets = "drawn"
    num_convs: int | None = None
    hidden_channels: int = 256
    norm: MaskNorm = "none"

    def num_masks(self, num_classes: int) -> int:
        """Masks that a RoI gets."""
        return num_classes + (self.classes == "competing")


PAPER_MASKS = MaskSettings()


class MaskStage(nn.Module):
    """Pool regions, draw a mask for each of their classes.

    `MaskStage.over` builds one on a backbone.

    Args:
        head: the layers after pooling.
        strides: pixels per cell of the maps to pool from, finest first.
        masks: how regions are pooled, and what is learned.
    """

    def __init__(
        self, head: MaskHead, strides: Sequence[int], masks: MaskSettings = PAPER_MASKS
    ) -> None:
        super().__init__()
        self.head = head
        self.strides = tuple(strides)
        self.masks = masks

    @classmethod
    def over(
        cls, backbone: Backbone, num_classes: int, masks: MaskSettings = PAPER_MASKS
    ) -> "MaskStage":
        """The stage behind a backbone's maps, and behind the layers that it shares (res5 of C4).

        Args:
            backbone: gives the maps.
            num_classes: without background.
            masks: how regions are pooled, and what is learned.

        Raises:
            UserError: when the pooled regions do not fit the shared layers.
        """
        shared = backbone.head_layers
        channels, num_convs = backbone.out_channels, 4
        if shared is not None and not isinstance(shared.trunk, nn.Identity):
            channels, num_convs = shared.trunk_channels, 0
            shared.require_bins(masks.output_size, "masks.output_size")
        head = MaskHead(
            masks.num_masks(num_classes),
            channels,
            num_convs if masks.num_convs is None else masks.num_convs,
            masks.hidden_channels,
            masks.norm,
        )
        return cls(head, backbone.strides[: backbone.roi_levels], masks)

    def forward(
        self,
        features: list[Float[Tensor, "images channels _ _"]],
        rois: list[Float[Tensor, "_ 4"]],
        trunk: nn.Module,
    ) -> list[Float[Tensor, "_ masks cells cells"]]:
        """Mask logits of the regions of each image.

        Args:
            features: the backbone's maps.
            rois: regions of each image, XYXY pixels.
            trunk: what the box branch does first with a pooled region, and shares (C4); the
                identity for a feature pyramid.
        """
        settings = self.masks
        pooled = pool_rois(
            features[: len(self.strides)],
            rois,
            self.strides,
            settings.output_size,
            settings.pooling,
            settings.sampling_ratio,
        )
        logits = self.head(trunk(pooled)).float()  # whatever autocast made of the layers
        return list(logits.split([len(boxes) for boxes in rois]))

    def compute_losses(
        self,
        features: list[Float[Tensor, "images channels _ _"]],
        samples: list[SampledRoIs],
        images: Images,
        targets: list[BoxTarget],
        trunk: nn.Module,
    ) -> dict[str, Float[Tensor, ""]]:
        """`mask`: of the sampled RoIs that are on objects; the mean over images of each one's.

        Raises:
            UserError: when targets have no masks.
        """
        on_objects = [of_image.on_objects() for of_image in samples]
        logits = self(features, [rois.boxes for rois in on_objects], trunk)
        loss = mask_loss if self.masks.classes == "independent" else competing_mask_loss
        losses = [
            loss(
                of_image,
                rois.labels - 1,
                roi_mask_targets(rois, target, of_image.shape[-1], size, self.masks.targets),
            )
            for of_image, rois, target, size in zip(
                logits, on_objects, targets, images.sizes.tolist(), strict=True
            )
        ]
        return {"mask": torch.stack(losses).mean()}

    def detect(
        self,
        features: list[Float[Tensor, "images channels _ _"]],
        detections: list[Detections],
        trunk: nn.Module,
    ) -> list[Detections]:
        """The detections with the mask of their class, as probabilities in cells of their boxes."""
        logits = self(features, [found.boxes for found in detections], trunk)
        return [
            found._replace(mask_cells=self._cells(of_image, found.labels))
            for found, of_image in zip(detections, logits, strict=True)
        ]

    def _cells(
        self, logits: Float[Tensor, "regions masks cells cells"], labels: Int[Tensor, " regions"]
    ) -> Float[Tensor, "regions cells cells"]:
        """Probabilities of one class of each region."""
        number = torch.arange(len(labels), device=labels.device)
        if self.masks.classes == "independent":
            return logits[number, labels].sigmoid()
        return logits.softmax(dim=1)[number, labels + 1]
