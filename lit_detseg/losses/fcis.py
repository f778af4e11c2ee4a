"""The losses of FCIS (arXiv:1611.07709, section 2.3)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from lit_detseg.assignment.matching import BACKGROUND
from lit_detseg.losses.region_proposal import Balance
from lit_detseg.ops.position_sensitive import class_logits

MASK_WEIGHT = {"paper": 1.0, "released_code": 10.0}


class RoILosses(NamedTuple):
    """The three terms of each RoI, not weighted; the last two are 0 for the background."""

    classification: Float[Tensor, " rois"]  # nats
    mask: Float[Tensor, " rois"]  # nats, mean over the cells
    box_regression: Float[Tensor, " rois"]  # no unit, sum over the four offsets


def fcis_losses(
    scores: Float[Tensor, "rois classes 2 cells cells"],
    offsets: Float[Tensor, "rois 4"],
    labels: Int[Tensor, " rois"],
    target_offsets: Float[Tensor, "rois 4"],
    inside: Bool[Tensor, "rois cells cells"],
    balance: Balance = "paper",
    num_samples: int = 128,
    hard_examples: bool = False,
) -> dict[str, Float[Tensor, ""]]:
    """Classification, mask and box losses of the RoIs of one image.

    The mask term of a RoI is the mean over its cells (the paper's footnote: "normalized by the
    ROI's size"; in the released code MXNet's SoftmaxOutput does it, which divides by the number of
    cells unless it counts the valid ones).

    Args:
        scores: outside, then inside, of each class; class 0 is background.
        offsets: box predictions, one for all classes, in the units of `target_offsets`.
        labels: true class of each RoI.
        target_offsets: `encode_boxes(ground truth, RoI)`, scaled to unit variance; not read where
            the label is background.
        inside: cells on the object; likewise.
        balance: what divides and weighs the terms.
            `paper`: all three weigh the same, and are divided by the number of RoIs learned from.
            `released_code`: the mask weighs 10; mask and box term are divided by `num_samples`,
            however many there are (there are as many there, since it repeats background RoIs where
            they run short).
        num_samples: RoIs that an image learns from, if it has as many.
        hard_examples: of more RoIs than that, learn from those with the largest weighted sum of
            the terms (OHEM, arXiv:1604.03540).

    Returns:
        Three scalars, weighted: `classification`, `mask` and `box_regression`. Without RoIs all
        are 0.
    """
    losses = losses_of_rois(scores, offsets, labels, target_offsets, inside)
    losses = losses._replace(mask=MASK_WEIGHT[balance] * losses.mask)
    if hard_examples:
        total = torch.stack(losses).detach().sum(dim=0)
        hardest = total.topk(min(num_samples, len(total))).indices
        losses = RoILosses(*(of_rois[hardest] for of_rois in losses))
    learned = max(len(losses.classification), 1)
    divisor = learned if balance == "paper" else num_samples
    return {
        "classification": losses.classification.sum() / learned,
        "mask": losses.mask.sum() / divisor,
        "box_regression": losses.box_regression.sum() / divisor,
    }


def losses_of_rois(
    scores: Float[Tensor, "rois classes 2 cells cells"],
    offsets: Float[Tensor, "rois 4"],
    labels: Int[Tensor, " rois"],
    target_offsets: Float[Tensor, "rois 4"],
    inside: Bool[Tensor, "rois cells cells"],
) -> RoILosses:
    """The terms of each RoI.

    - classification: softmax over the classes and the background;
    - mask: in each cell, softmax over outside and inside, of the true class alone;
    - box: smooth L1, which turns from a square into a line at 1 (Fast R-CNN).

    Args:
        scores: as in `fcis_losses`.
        offsets: likewise.
        labels: likewise.
        target_offsets: likewise.
        inside: likewise.
    """
    on_object = labels > BACKGROUND
    of_class = scores[torch.arange(len(labels), device=labels.device), labels]
    nats = F.cross_entropy(of_class, inside.long(), reduction="none").mean(dim=(1, 2))
    # Where there is no object the target may be anything, even infinite: replace, do not multiply.
    target = torch.where(on_object[:, None], target_offsets, offsets.detach())
    distance = F.smooth_l1_loss(offsets, target, reduction="none").sum(dim=1)
    classification = F.cross_entropy(class_logits(scores), labels, reduction="none")
    return RoILosses(classification, nats * on_object, distance)
