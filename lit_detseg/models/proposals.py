"""The region proposal network (arXiv:1506.01497, section 3.1) over the maps of any backbone.

The stage that Faster R-CNN and Mask R-CNN share: score every anchor, learn from a sample of them,
propose the best ones. On a feature pyramid the same head runs on each level, and each level has
its own anchor sizes (FPN, arXiv:1612.03144, section 4.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lit_detseg.assignment.matching import (
    Objects,
    centered_in_image,
    inside_image,
    match_boxes,
    objects_to_learn,
)
from lit_detseg.assignment.sampling import ANCHORS, sample, sampled_labels
from lit_detseg.losses.region_proposal import Balance, region_proposal_losses
from lit_detseg.models.detector import seeds_of
from lit_detseg.models.heads.region_proposal import RegionProposalHead
from lit_detseg.ops.anchors import Rounding, cell_anchors, grid_anchors, grid_keys
from lit_detseg.ops.box_coding import decode_boxes, encode_boxes
from lit_detseg.ops.nms import class_nms, clip_boxes, large_enough
from lit_detseg.structures import BoxTarget, Images, UserError


@dataclass(frozen=True)
class AnchorSettings:
    """Where the anchors are. Defaults: section 3.3 of the paper, one map of stride 16.

    Args:
        sizes: for each feature map, finest first, the sides in pixels of squares of the same
            area. FPN: ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,)).
        aspect_ratios: height over width, the same on every map.
        rounding: see `lit_detseg.ops.anchors.cell_anchors`.
        center: see `lit_detseg.ops.anchors.grid_anchors`.
    """

    sizes: tuple[tuple[float, ...], ...] = ((128.0, 256.0, 512.0),)
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    rounding: Rounding = "none"
    center: float = 0.5


@dataclass(frozen=True)
class AnchorLearning:
    """What the network learns from. Defaults: sections 3.1.2 and 3.1.3.

    Args:
        num_samples: anchors drawn per image.
        positive_fraction: at most this share of them on objects.
        foreground_iou: an anchor with at least this IoU is on an object.
        background_iou: an anchor below this IoU with every object is background.
        ignore_crossing: leave out anchors that cross the border of the image, as in the paper
            (detectron2 and torchvision keep them). Anchors on the padding are never used.
        balance: see `lit_detseg.losses.region_proposal.region_proposal_losses`.
    """

    num_samples: int = 256
    positive_fraction: float = 0.5
    foreground_iou: float = 0.7
    background_iou: float = 0.3
    ignore_crossing: bool = True
    balance: Balance = "paper"


@dataclass(frozen=True)
class ProposalSettings:
    """What the network hands on. Defaults: section 3.3 and py-faster-rcnn's config.py.

    Args:
        training_before_nms: best boxes of each map that enter NMS, when there are targets
            (FPN: 2000).
        training_after_nms: boxes per image that leave it, over all maps.
        before_nms: the same without targets (FPN: 1000).
        after_nms: likewise (FPN: 1000).
        nms_iou: boxes that overlap a better one of their map by more are dropped.
        min_side: boxes narrower or lower are dropped, in pixels of the resized image. 16 is the
            released code's, there in pixels of the original; Detectron and its successors use 0.
    """

    training_before_nms: int = 12_000
    training_after_nms: int = 2000
    before_nms: int = 6000
    after_nms: int = 300
    nms_iou: float = 0.7
    min_side: float = 16.0


PAPER_ANCHORS = AnchorSettings()
PAPER_LEARNING = AnchorLearning()
PAPER_PROPOSALS = ProposalSettings()


class AnchorPredictions(NamedTuple):
    """What the head says of every anchor: map by map, row by row, cell by cell."""

    objectness: Float[Tensor, "images anchors"]  # logits
    offsets: Float[Tensor, "images anchors 4"]
    anchors: Float[Tensor, "anchors 4"]  # XYXY pixels, the same for every image
    keys: Int[Tensor, " anchors"]  # see `grid_keys`
    per_level: list[int]  # number of anchors on each map


class RegionProposalNetwork(nn.Module):
    """Score and adjust anchors; learn from a sample of them; propose the best.

    Which anchors are drawn depends on `Images.seeds` alone; where they are missing, the seed is 0.

    Args:
        in_channels: channels of every feature map.
        strides: pixels per cell of every map, finest first.
        hidden_channels: width of the 3x3 convolution: 512 for VGG-16, 256 for ZF and FPN.
        anchors: where the anchors are.
        learning: which of them are learned from.
        proposals: which boxes are handed on.
        num_convs: 3x3 convolutions of the head; 1 in the paper.

    Raises:
        UserError: when the anchor sizes are not one list for each feature map.
    """

    def __init__(
        self,
        in_channels: int,
        strides: Sequence[int],
        hidden_channels: int = 512,
        anchors: AnchorSettings = PAPER_ANCHORS,
        learning: AnchorLearning = PAPER_LEARNING,
        proposals: ProposalSettings = PAPER_PROPOSALS,
        num_convs: int = 1,
    ) -> None:
        super().__init__()
        counts = {len(sizes) for sizes in anchors.sizes}
        if len(anchors.sizes) != len(strides) or len(counts) != 1:
            raise UserError(
                f"The anchor sizes are {[list(sizes) for sizes in anchors.sizes]}, but the "
                f"backbone returns maps of strides {list(strides)}. Give one list of sizes for "
                "each map, finest first, all of the same length."
            )
        self.strides = tuple(strides)
        self.anchors, self.learning, self.proposals = anchors, learning, proposals
        num_anchors = counts.pop() * len(anchors.aspect_ratios)
        self.head = RegionProposalHead(in_channels, num_anchors, hidden_channels, num_convs)

    def forward(self, features: list[Float[Tensor, "images channels _ _"]]) -> AnchorPredictions:
        """Run the head on every map, and draw the anchors that its answers belong to."""
        objectness, offsets = zip(*(self.head(feature) for feature in features), strict=True)
        anchors, keys = self._draw_anchors(features)
        return AnchorPredictions(
            # Boxes and losses are computed in float32, whatever autocast made of the layers.
            torch.cat(objectness, dim=1).float(),
            torch.cat(offsets, dim=1).float(),
            torch.cat(anchors),
            torch.cat(keys),
            [len(of_level) for of_level in anchors],
        )

    def compute_losses(
        self,
        predictions: AnchorPredictions,
        images: Images,
        targets: list[BoxTarget],
    ) -> dict[str, Float[Tensor, ""]]:
        """`rpn_objectness` and `rpn_box` of a sample of the anchors of each image."""
        drawn = [
            self._draw_samples(predictions, objects_to_learn(target), size, seed)
            for target, size, seed in zip(targets, images.sizes, seeds_of(images), strict=True)
        ]
        index, labels, offsets = (torch.stack(parts) for parts in zip(*drawn, strict=True))
        return region_proposal_losses(
            predictions.objectness.gather(1, index),
            torch.take_along_dim(predictions.offsets, index[..., None], dim=1),
            labels,
            offsets,
            self._count_locations(images.sizes),
            self.learning.balance,
        )

    @torch.no_grad()
    def propose(
        self,
        predictions: AnchorPredictions,
        image_sizes: Int[Tensor, "images 2"],
        training: bool,
    ) -> list[Float[Tensor, "_ 4"]]:
        """The best boxes of each image, best first, after NMS.

        They are constants: no gradient passes through them (approximate joint training,
        section 3.2).
        """
        return [boxes for boxes, _ in self.propose_scored(predictions, image_sizes, training)]

    @torch.no_grad()
    def propose_scored(
        self,
        predictions: AnchorPredictions,
        image_sizes: Int[Tensor, "images 2"],
        training: bool,
    ) -> list[tuple[Float[Tensor, "proposals 4"], Float[Tensor, " proposals"]]]:
        """As `propose`, with the objectness logit of each box."""
        settings = self.proposals
        before, after = (
            (settings.training_before_nms, settings.training_after_nms)
            if training
            else (settings.before_nms, settings.after_nms)
        )
        images = zip(predictions.objectness, predictions.offsets, image_sizes, strict=True)
        return [
            self._propose_in_image(scores, offsets, size, predictions, before, after)
            for scores, offsets, size in images
        ]

    def _propose_in_image(
        self,
        scores: Float[Tensor, " anchors"],
        offsets: Float[Tensor, "anchors 4"],
        image_size: Int[Tensor, "2"],
        predictions: AnchorPredictions,
        before: int,
        after: int,
    ) -> tuple[Float[Tensor, "proposals 4"], Float[Tensor, " proposals"]]:
        """Decode, clip, drop the small, keep the best of each map, NMS within each map."""
        boxes = clip_boxes(decode_boxes(offsets, predictions.anchors), image_size)
        scores = scores.masked_fill(~large_enough(boxes, self.proposals.min_side), -torch.inf)
        per_level = predictions.per_level
        best = [level.topk(min(before, len(level))).indices for level in scores.split(per_level)]
        level = torch.cat([torch.full_like(index, i) for i, index in enumerate(best)])
        start = level.new_tensor([sum(per_level[:i]) for i in range(len(per_level))])
        index = torch.cat(best) + start[level]
        large = scores[index] > -torch.inf
        index, level = index[large], level[large]
        kept = index[class_nms(boxes[index], scores[index], level, self.proposals.nms_iou)[:after]]
        return boxes[kept], scores[kept]

    @torch.no_grad()
    def _draw_samples(
        self,
        predictions: AnchorPredictions,
        objects: Objects,
        image_size: Int[Tensor, "2"],
        seed: Int[Tensor, ""],
    ) -> tuple[Int[Tensor, " rows"], Int[Tensor, " rows"], Float[Tensor, "rows 4"]]:
        """Index, label and target offsets of the anchors that one image learns from."""
        anchors, learning = predictions.anchors, self.learning
        usable = inside_image if learning.ignore_crossing else centered_in_image
        matches = match_boxes(
            anchors,
            objects.boxes,
            learning.foreground_iou,
            (0.0, learning.background_iou),
            keep_best=True,
            eligible=usable(anchors, image_size),
        )
        samples = sample(
            matches.labels,
            learning.num_samples,
            learning.positive_fraction,
            seed,
            ANCHORS,
            predictions.keys,
        )
        chosen = anchors[samples.places]
        # Without any object no label is positive, and the target is not read.
        boxes = objects.boxes[matches.objects[samples.places]] if len(objects.boxes) else chosen
        return samples.places, sampled_labels(matches.labels, samples), encode_boxes(boxes, chosen)

    def _draw_anchors(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """For every map its anchors and their keys."""
        settings, device = self.anchors, features[0].device
        anchors, keys = [], []
        levels = zip(features, self.strides, settings.sizes, strict=True)
        for level, (feature, stride, sizes) in enumerate(levels):
            cell = cell_anchors(sizes, settings.aspect_ratios, stride, settings.rounding, device)
            height, width = feature.shape[-2:]
            anchors.append(grid_anchors(cell, (height, width), stride, settings.center))
            keys.append(grid_keys((height, width), len(cell), level, device))
        return anchors, keys

    def _count_locations(self, image_sizes: Int[Tensor, "images 2"]) -> Int[Tensor, " images"]:
        """Cells of all maps that each image covers, its padding not counted."""
        cells = [(image_sizes + stride - 1) // stride for stride in self.strides]
        return torch.stack([of_level.prod(dim=1) for of_level in cells]).sum(dim=0)
