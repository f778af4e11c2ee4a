"""Mean and deviation of the offsets that a box branch will learn (Fast R-CNN, arXiv:1504.08083).

Section 2.3: "we normalize the ground-truth regression targets to have zero mean and unit variance".
The program (lib/roi_data_layer/roidb.py) measures them for each class before it trains, over all
proposals that overlap an object of the class enough, the object's own box among them.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lit_detseg.assignment.matching import FOREGROUND, Objects, match_boxes
from lit_detseg.ops.box_coding import encode_boxes

LEAST_PAIRS = 2  # of a class; below, its deviation is not known
LEAST_STD = 1e-4


class OffsetStatistics(NamedTuple):
    """Of each class, without the background."""

    mean: Float[Tensor, "classes 4"]
    std: Float[Tensor, "classes 4"]


def measure_offsets(
    regions: Iterable[tuple[Float[Tensor, "_ 4"], Objects]],
    num_classes: int,
    foreground_iou: float,
    fallback_std: tuple[float, float, float, float],
) -> OffsetStatistics:
    """Statistics of the offsets from proposals to the objects that they are on.

    Each image counts as it is and mirrored, as training sees it: the mean of t_x is 0.

    Args:
        regions: the proposals and the objects of each image, in pixels of any scale.
        num_classes: labels are 0 .. num_classes - 1.
        foreground_iou: of a proposal that is on an object, at least.
        fallback_std: for a class that has not enough of them (its mean is then 0), or in which an
            offset is always the same.
    """
    count = torch.zeros(num_classes, 1, dtype=torch.float64)
    total, squares = (torch.zeros(num_classes, 4, dtype=torch.float64) for _ in range(2))
    for proposals, objects in regions:
        boxes = torch.cat([proposals, objects.boxes]).double()
        truth = objects.boxes.double()
        matches = match_boxes(boxes, truth, foreground_iou, (0.0, foreground_iou))
        on_object = matches.labels == FOREGROUND
        numbers = matches.objects[on_object]
        if not len(numbers):
            continue
        offsets, labels = encode_boxes(truth[numbers], boxes[on_object]), objects.labels[numbers]
        count.index_add_(0, labels, torch.ones_like(offsets[:, :1]))
        total.index_add_(0, labels, offsets)
        squares.index_add_(0, labels, offsets.square())
    mean = total / count.clamp(min=1)
    mean[:, 0] = 0.0
    std = (squares / count.clamp(min=1) - mean.square()).clamp(min=0).sqrt()
    unknown = count < LEAST_PAIRS
    std = torch.where(unknown | (std < LEAST_STD), std.new_tensor(fallback_std), std)
    return OffsetStatistics(mean.masked_fill(unknown, 0.0).float(), std.float())
