"""Which object an anchor or a proposal answers for, by intersection over union.

Sources: Faster R-CNN (arXiv:1506.01497, section 3.1.2) for anchors, Fast R-CNN (arXiv:1504.08083,
section 2.3) for proposals.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import box_iou

from lit_detseg.structures import BoxTarget

IGNORE = -1  # neither object nor background: takes no part in training
BACKGROUND = 0
FOREGROUND = 1


class Matches(NamedTuple):
    """For each box, what it is and which object it overlaps most."""

    labels: Int[Tensor, " boxes"]  # FOREGROUND, BACKGROUND or IGNORE
    objects: Int[Tensor, " boxes"]  # index of an object; only meaningful for FOREGROUND


class Objects(NamedTuple):
    """The objects of one image that a two-stage detector learns from."""

    boxes: Float[Tensor, "objects 4"]  # XYXY pixels
    labels: Int[Tensor, " objects"]  # 0 .. num_classes - 1


def objects_to_learn(target: BoxTarget) -> Objects:
    """All objects but crowds (COCO) and difficult ones (VOC), as the authors' programs train.

    What they cover counts as background.
    """
    wanted = is_learned(target)
    return Objects(target.boxes[wanted], target.labels[wanted])


def is_learned(target: BoxTarget) -> Bool[Tensor, " objects"]:
    """Which objects of the target are among `objects_to_learn`, on the CPU."""
    return ~(target.is_crowd | target.is_difficult)


def match_boxes(
    boxes: Float[Tensor, "boxes 4"],
    objects: Float[Tensor, "objects 4"],
    foreground_iou: float,
    background_iou: tuple[float, float],
    keep_best: bool = False,
    eligible: Bool[Tensor, " boxes"] | None = None,
) -> Matches:
    """Call each box foreground, background or neither.

    The rules, later ones winning, as in py-faster-rcnn's anchor_target_layer.py:

    1. background if the best IoU with any object is in [low, high) of `background_iou`;
    2. with `keep_best`, foreground for every object's best box, all of them in case of a tie
       (a box that touches no object is nobody's best);
    3. foreground if the best IoU is at least `foreground_iou`.

    A foreground box always answers for the object that *it* overlaps most, even when it is
    foreground as the best box of another one.

    Args:
        boxes: anchors or proposals, XYXY pixels.
        objects: ground truth, XYXY pixels; may be none, then every IoU is 0.
        foreground_iou: lowest IoU of a foreground box.
        background_iou: [low, high) of a background box.
        keep_best: every object shall have at least one box.
        eligible: boxes that may be used at all; the others are ignored, and are nobody's best.
    """
    if eligible is None:
        eligible = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    # An empty box has no IoU (0 / 0); the row in front is the overlap with nothing at all.
    iou = box_iou(objects, boxes).nan_to_num(0.0).masked_fill(~eligible, 0.0)
    best_iou, best_object = torch.cat([iou.new_zeros(1, len(boxes)), iou]).max(dim=0)

    low, high = background_iou
    labels = torch.full_like(best_object, IGNORE)
    labels[(best_iou >= low) & (best_iou < high)] = BACKGROUND
    if keep_best and len(boxes):
        best_of_object = iou.amax(dim=1, keepdim=True)
        labels[((iou == best_of_object) & (iou > 0)).any(dim=0)] = FOREGROUND
    labels[best_iou >= foreground_iou] = FOREGROUND
    labels[~eligible] = IGNORE
    return Matches(labels, (best_object - 1).clamp(min=0))


def inside_image(
    boxes: Float[Tensor, "boxes 4"], image_size: Int[Tensor, "2"], margin: float = 0.0
) -> Bool[Tensor, " boxes"]:
    """Which boxes stay within their image, the padding not counted, up to `margin` pixels.

    Args:
        boxes: XYXY pixels.
        image_size: height and width.
        margin: pixels that a box may reach over the border.
    """
    height, width = image_size.unbind()
    far = torch.stack([width, height])
    return ((boxes[:, :2] >= -margin) & (boxes[:, 2:] <= far + margin)).all(dim=1)


def centered_in_image(
    boxes: Float[Tensor, "boxes 4"], image_size: Int[Tensor, "2"]
) -> Bool[Tensor, " boxes"]:
    """Which boxes have their middle in the image and not on its padding."""
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    return ((middle >= 0) & (middle < image_size.flip(0))).all(dim=1)
