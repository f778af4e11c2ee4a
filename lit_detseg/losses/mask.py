"""The mask loss of Mask R-CNN (arXiv:1703.06870, section 3), and the one it was compared with."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

INSIDE = 0.5  # a cell of at least this target belongs to the object


def mask_loss(
    logits: Float[Tensor, "rois classes cells cells"],
    labels: Int[Tensor, " rois"],
    targets: Float[Tensor, "rois cells cells"],
) -> Float[Tensor, ""]:
    """Binary cross-entropy of each cell, on the mask of the RoI's true class alone.

    The masks of other classes get no gradient: which class it is has been decided by the box
    branch, and masks of different classes do not compete. The mean is over the cells and the RoIs,
    all of which are on objects; without any it is 0.

    Args:
        logits: one mask per class, before the sigmoid.
        labels: true classes, 0 .. classes - 1, without background.
        targets: 1 inside the object, 0 outside; fractions where a bitmap was resampled.
    """
    of_class = logits[torch.arange(len(labels), device=labels.device), labels]
    total = F.binary_cross_entropy_with_logits(of_class, targets, reduction="sum")
    return total / max(targets.numel(), 1)


def competing_mask_loss(
    logits: Float[Tensor, "rois classes_and_background cells cells"],
    labels: Int[Tensor, " rois"],
    targets: Float[Tensor, "rois cells cells"],
) -> Float[Tensor, ""]:
    """A softmax over the classes in each cell, as FCNs have it: the ablation of table 2b.

    Args:
        logits: of the background, then of each class.
        labels: true classes, 0 .. classes - 1, without background.
        targets: as in `mask_loss`; a cell is the object's from `INSIDE` on, otherwise background.
    """
    classes = (labels + 1)[:, None, None] * (targets >= INSIDE)
    return F.cross_entropy(logits, classes, reduction="sum") / max(targets.numel(), 1)
