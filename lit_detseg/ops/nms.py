"""What becomes of predicted boxes: clipped to the image, freed of slivers and of duplicates."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision.ops import batched_nms


def clip_boxes(
    boxes: Float[Tensor, "*boxes 4"], image_size: Int[Tensor, "2"]
) -> Float[Tensor, "*boxes 4"]:
    """Cut XYXY boxes at the border of their image, whose size is (height, width) in pixels.

    The size is a tensor so that no GPU has to wait for the CPU.
    """
    height, width = image_size.unbind()
    return torch.minimum(boxes.clamp(min=0), torch.stack([width, height, width, height]))


def large_enough(boxes: Float[Tensor, "*boxes 4"], min_side: float) -> Bool[Tensor, "*boxes"]:
    """Which boxes are at least `min_side` pixels wide and high."""
    return (boxes[..., 2:] - boxes[..., :2] >= min_side).all(dim=-1)


def best_of_columns(
    scores: Float[Tensor, "boxes classes"], count: int
) -> Bool[Tensor, "boxes classes"]:
    """Which scores are among the `count` highest of their column; of equal ones, the upper.

    >>> best_of_columns(torch.tensor([[0.1, 0.9], [0.3, 0.9], [0.2, 0.1]]), 1).int()
    tensor([[0, 1],
            [1, 0],
            [0, 0]], dtype=torch.int32)
    """
    order = scores.argsort(dim=0, descending=True, stable=True)
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(0, order[:count], True)


def class_nms(
    boxes: Float[Tensor, "boxes 4"],
    scores: Float[Tensor, " boxes"],
    groups: Int[Tensor, " boxes"],
    iou_threshold: float,
) -> Int[Tensor, " kept"]:
    """Greedy non-maximum suppression within each group (a class, or a level of a pyramid).

    A box goes when a better one of its group overlaps it by more than `iou_threshold`; at exactly
    the threshold it stays (Fast R-CNN's code: `<= thresh` kept). Equal scores keep their order.

    Returns:
        Indices of the boxes that stay, best score first.
    """
    return batched_nms(boxes.float(), scores.float(), groups, iou_threshold)
