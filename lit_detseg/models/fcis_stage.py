"""FCIS's second stage (arXiv:1611.07709, section 2): regions, from position-sensitive maps.

The same maps say of which class a region is and where in it the object is. After the maps no layer
has weights, so that a region costs next to nothing.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lit_detseg.assignment.mask_targets import roi_mask_targets
from lit_detseg.assignment.matching import BACKGROUND, objects_to_learn
from lit_detseg.assignment.roi_sampling import SampledRoIs, draw_rois
from lit_detseg.losses.fcis import fcis_losses
from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.detector import seeds_of
from lit_detseg.models.fcis_settings import (
    VOC_DETECTIONS,
    VOC_ROIS,
    FCISDetectionSettings,
    FCISRoISettings,
)
from lit_detseg.models.heads.fcis import FCISHead, PositionSensitiveMaps
from lit_detseg.models.roi_stage import MIN_SIDE
from lit_detseg.ops.box_coding import decode_boxes
from lit_detseg.ops.mask_voting import vote_masks
from lit_detseg.ops.nms import class_nms, clip_boxes, large_enough
from lit_detseg.ops.position_sensitive import (
    class_logits,
    mask_probabilities,
    pool_position_sensitive,
)
from lit_detseg.structures import BoxTarget, Detections, Images, UserError


class RegionScores(NamedTuple):
    """What the maps say of the regions of one image."""

    scores: Float[Tensor, "rois classes 2 cells cells"]  # outside, inside; class 0 is background
    offsets: Float[Tensor, "rois 4"]  # in units of `offset_std`


class Candidates(NamedTuple):
    """Regions of one image that may be answered."""

    boxes: Float[Tensor, "rois 4"]  # XYXY pixels
    scores: Float[Tensor, "rois classes"]  # probabilities, without the background's
    cells: Float[Tensor, "rois cells cells"]  # the mask of the likeliest class, probabilities


class FCISStage(nn.Module):
    """Put regions together, classify, draw and refine them.

    `FCISStage.over` builds one on a backbone.

    Args:
        head: makes the position-sensitive maps.
        stride: pixels per cell of the maps.
        rois: how regions are put together and learned from.
        detections: which are answered.

    Raises:
        UserError: when `cells` is not a multiple of `groups`.
    """

    def __init__(
        self,
        head: FCISHead,
        stride: int,
        rois: FCISRoISettings = VOC_ROIS,
        detections: FCISDetectionSettings = VOC_DETECTIONS,
    ) -> None:
        super().__init__()
        if rois.cells % rois.groups:
            raise UserError(
                f"A region has {rois.cells} cells a side (rois.cells), which {rois.groups} parts "
                f"(rois.groups) do not share evenly. Use a multiple of {rois.groups}."
            )
        self.head = head
        self.stride = stride
        self.rois, self.detections = rois, detections

    @classmethod
    def over(
        cls,
        backbone: Backbone,
        num_classes: int,
        rois: FCISRoISettings = VOC_ROIS,
        detections: FCISDetectionSettings = VOC_DETECTIONS,
    ) -> "FCISStage":
        """The stage behind a backbone's map; it takes over what the backbone does next (res5).

        Args:
            backbone: gives one map.
            num_classes: without background.
            rois: how regions are put together and learned from.
            detections: which are answered.

        Raises:
            UserError: when the backbone gives several maps.
        """
        if len(backbone.strides) != 1:
            raise UserError(
                f"FCIS judges regions on one map, and this backbone gives {len(backbone.strides)}, "
                f"of strides {list(backbone.strides)}. Use for example resnet101_dc5."
            )
        behind = backbone.head_layers
        trunk: nn.Module = nn.Identity() if behind is None else behind.trunk
        channels = backbone.out_channels if behind is None else behind.trunk_channels
        head = FCISHead(num_classes, trunk, channels, rois.hidden_channels, rois.groups)
        return cls(head, backbone.strides[0], rois, detections)

    def forward(
        self, maps: PositionSensitiveMaps, rois: list[Float[Tensor, "_ 4"]]
    ) -> list[RegionScores]:
        """The maps of the regions of each image, put together, in float32."""
        shape = self.stride, self.rois.groups, self.rois.cells
        scores = pool_position_sensitive(maps.scores, rois, *shape).unflatten(1, (-1, 2))
        offsets = pool_position_sensitive(maps.offsets, rois, *shape).mean(dim=(2, 3))
        counts = [len(of_image) for of_image in rois]
        images = zip(scores.split(counts), offsets.split(counts), strict=True)
        return [RegionScores(*of_image) for of_image in images]

    def draw(
        self, proposals: list[Float[Tensor, "_ 4"]], images: Images, targets: list[BoxTarget]
    ) -> list[SampledRoIs]:
        """The RoIs that each image learns from; with `hard_examples`, those it chooses from."""
        settings = self.rois
        drawn = [
            draw_rois(
                of_image,
                objects_to_learn(target),
                seed,
                num_samples=None if settings.hard_examples else settings.num_samples,
                positive_fraction=settings.positive_fraction,
                foreground_iou=settings.foreground_iou,
                background_iou=settings.background_iou,
                fill=settings.fill_background,
            )
            for of_image, target, seed in zip(proposals, targets, seeds_of(images), strict=True)
        ]
        return [
            rois._replace(target_offsets=rois.target_offsets / self._std(rois.boxes))
            for rois in drawn
        ]

    def compute_losses(
        self,
        maps: PositionSensitiveMaps,
        samples: list[SampledRoIs],
        images: Images,
        targets: list[BoxTarget],
    ) -> dict[str, Float[Tensor, ""]]:
        """`classification`, `mask`, `box_regression`: the mean over images of each image's loss.

        Raises:
            UserError: when targets have no masks.
        """
        predictions = self(maps, [of_image.boxes for of_image in samples])
        sizes = images.sizes.tolist()
        losses = [
            self._losses_of_image(*of_image)
            for of_image in zip(predictions, samples, targets, sizes, strict=True)
        ]
        return {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}

    def detect(
        self,
        maps: PositionSensitiveMaps,
        proposals: list[Float[Tensor, "_ 4"]],
        image_sizes: Int[Tensor, "images 2"],
    ) -> list[Detections]:
        """Judge the proposals, refine them, judge again; NMS per class, best 100, voting."""
        regions, candidates = proposals, []
        for _ in range(self.detections.iterations):
            predictions = self(maps, regions)
            judged = zip(regions, predictions, strict=True)
            candidates.append([_judge(boxes, prediction.scores) for boxes, prediction in judged])
            refined = zip(regions, predictions, image_sizes, strict=True)
            regions = [self._refine(boxes, of.offsets, size) for boxes, of, size in refined]
        return [
            self._detect_in_image(Candidates(*map(torch.cat, zip(*of_image, strict=True))))
            for of_image in zip(*candidates, strict=True)
        ]

    def _losses_of_image(
        self,
        prediction: RegionScores,
        rois: SampledRoIs,
        target: BoxTarget,
        image_size: list[int],
    ) -> dict[str, Float[Tensor, ""]]:
        settings = self.rois
        masks = roi_mask_targets(
            rois.on_objects(), target, settings.cells, image_size, settings.targets
        )
        inside = prediction.scores.new_zeros(
            len(rois.boxes), settings.cells, settings.cells, dtype=torch.bool
        )
        inside[rois.labels > BACKGROUND] = masks >= settings.mask_threshold
        return fcis_losses(
            prediction.scores,
            prediction.offsets,
            rois.labels,
            rois.target_offsets,
            inside,
            settings.balance,
            settings.num_samples,
            settings.hard_examples,
        )

    def _refine(
        self,
        boxes: Float[Tensor, "rois 4"],
        offsets: Float[Tensor, "rois 4"],
        image_size: Int[Tensor, "2"],
    ) -> Float[Tensor, "rois 4"]:
        return clip_boxes(decode_boxes(offsets * self._std(boxes), boxes), image_size)

    def _std(self, boxes: Tensor) -> Float[Tensor, "4"]:
        return boxes.new_tensor(self.rois.offset_std)

    def _detect_in_image(self, candidates: Candidates) -> Detections:
        settings = self.detections
        large = large_enough(candidates.boxes, max(settings.min_side, MIN_SIDE))
        boxes, scores, cells = (part[large] for part in candidates)
        region, label = (scores >= settings.min_score).nonzero().unbind(1)
        best = class_nms(boxes[region], scores[region, label], label, settings.nms_iou)
        best = best[: settings.max_detections]
        region, label = region[best], label[best]
        found = Detections(boxes[region], label, scores[region, label], mask_cells=cells[region])
        if settings.voting:
            new_boxes, new_cells, drawn = vote_masks(
                boxes, cells, scores, region, label, settings.voting_iou, self.rois.mask_threshold
            )
            found = Detections(
                new_boxes[drawn], label[drawn], found.scores[drawn], mask_cells=new_cells[drawn]
            )
        return found._replace(mask_cells=self._border_at_half(found.mask_cells))

    def _border_at_half(self, cells: Tensor | None) -> Float[Tensor, "rois cells cells"]:
        """Probabilities that reach 1/2, where pasting has the border, at `mask_threshold`.

        By a straight line (1 stays 1), which changes nothing in what is interpolated between cells.
        """
        assert cells is not None
        return 1 - (1 - cells.clamp(max=1)) * (0.5 / (1 - self.rois.mask_threshold))


def _judge(
    boxes: Float[Tensor, "rois 4"], scores: Float[Tensor, "rois classes 2 cells cells"]
) -> Candidates:
    """Class probabilities of regions, and the mask of the likeliest class but the background."""
    probabilities = class_logits(scores).softmax(dim=1)[:, 1:]
    return Candidates(
        boxes, probabilities, mask_probabilities(scores, 1 + probabilities.argmax(dim=1))
    )
