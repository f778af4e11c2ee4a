"""The regions that the second stage learns from (Fast R-CNN, arXiv:1504.08083, section 2.3)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lit_detseg.assignment.matching import BACKGROUND, FOREGROUND, IGNORE, Objects, match_boxes
from lit_detseg.assignment.sampling import ROIS, sample
from lit_detseg.ops.box_coding import encode_boxes


class SampledRoIs(NamedTuple):
    """The RoIs that one image learns from."""

    boxes: Float[Tensor, "rois 4"]  # XYXY pixels
    labels: Int[Tensor, " rois"]  # 0 background, otherwise 1 + label of the object
    objects: Int[Tensor, " rois"]  # index of the object; only meaningful where the label is not 0
    target_offsets: Float[Tensor, "rois 4"]  # from RoI to object, to learn; likewise

    def on_objects(self) -> "SampledRoIs":
        """Without the background."""
        chosen = self.labels > BACKGROUND
        return SampledRoIs(*(part[chosen] for part in self))


@torch.no_grad()
def draw_rois(
    proposals: Float[Tensor, "proposals 4"],
    objects: Objects,
    seed: Int[Tensor, ""],
    *,
    num_samples: int | None,
    positive_fraction: float,
    foreground_iou: float,
    background_iou: tuple[float, float],
    fill: bool = False,
) -> SampledRoIs:
    """The RoIs that one image learns from: of its proposals and of its objects themselves.

    Early proposals may touch no object; the objects' own boxes make sure of some positives.

    Args:
        proposals: XYXY pixels.
        objects: to learn; may be none.
        seed: of this image at this step.
        num_samples: RoIs to draw; None takes all there are, whatever the fraction of positives.
        positive_fraction: at most this share of them on objects.
        foreground_iou: a RoI with at least this IoU is on an object.
        background_iou: [low, high) of the best IoU of a background RoI.
        fill: where the background runs short, take RoIs from below `low` as well.

    Returns:
        Target offsets are as `encode_boxes` has them; giving them unit variance is up to the stage.
    """
    boxes = torch.cat([proposals, objects.boxes.to(proposals)])
    matches = match_boxes(boxes, objects.boxes, foreground_iou, background_iou)
    if num_samples is None:
        num_samples, positive_fraction = len(boxes), 1.0
    samples = sample(matches.labels, num_samples, positive_fraction, seed, ROIS)
    index = samples.places[samples.valid]
    if fill:
        others = torch.where(matches.labels == IGNORE, BACKGROUND, IGNORE)
        filling = sample(others, num_samples - len(index), 0.0, seed, ROIS)
        index = torch.cat([index, filling.places[filling.valid]])
    boxes, object_index = boxes[index], matches.objects[index]
    foreground = matches.labels[index] == FOREGROUND
    if not len(objects.boxes):
        no_class = torch.full_like(object_index, BACKGROUND)
        return SampledRoIs(boxes, no_class, object_index, torch.zeros_like(boxes))
    labels = (objects.labels[object_index] + 1) * foreground
    offsets = encode_boxes(objects.boxes[object_index], boxes)
    return SampledRoIs(boxes, labels, object_index, offsets)
