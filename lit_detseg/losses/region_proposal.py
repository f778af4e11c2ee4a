"""The loss of a region proposal network (arXiv:1506.01497, eq. 1)."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from lit_detseg.assignment.matching import BACKGROUND

Balance = Literal["paper", "released_code"]


def region_proposal_losses(
    objectness: Float[Tensor, "images anchors"],
    offsets: Float[Tensor, "images anchors 4"],
    labels: Int[Tensor, "images anchors"],
    target_offsets: Float[Tensor, "images anchors 4"],
    num_locations: Int[Tensor, " images"],
    balance: Balance = "paper",
) -> dict[str, Float[Tensor, ""]]:
    """Objectness and box losses of the sampled anchors.

    Per image, L = 1/N_cls sum L_cls + lambda/N_reg sum_positive smooth_L1. The mean over images is
    taken last, so that the split of a batch over ranks changes nothing.

    Objectness is one logit and a sigmoid. The paper's softmax over two logits is the same
    function of their difference.

    Args:
        objectness: logits of the sampled anchors.
        offsets: their box predictions, in the units of `target_offsets`.
        labels: 1 object, 0 background, -1 not sampled.
        target_offsets: `encode_boxes(object, anchor)`; not read unless the label is 1.
        num_locations: cells of the feature maps that the image covers, its padding not counted
            (about 2400 for 1000 x 600 pixels at stride 16).
        balance: what divides the terms.
            `paper`: N_cls is the number of anchors sampled in the image (256, unless the image
            has fewer), N_reg = `num_locations`, lambda = 10, smooth L1 bends at 1.
            `released_code`: both terms are divided by the number of anchors sampled, lambda = 1,
            smooth L1 bends at 1/9 (py-faster-rcnn, Detectron, torchvision). Choose it for feature
            pyramids: their fine maps have 50 times the locations, and lambda = 10 would no longer
            make the two terms alike.

    Returns:
        Two scalars: `rpn_objectness` in nats, `rpn_box` without unit. An image in which nothing
        could be sampled counts as 0.
    """
    sampled, positive = labels >= BACKGROUND, labels > BACKGROUND
    num_sampled = sampled.sum(dim=1).clamp(min=1)
    if balance == "paper":
        weight, divisor, beta = 10.0, num_locations.clamp(min=1), 1.0
    else:
        weight, divisor, beta = 1.0, num_sampled, 1 / 9

    nats = F.binary_cross_entropy_with_logits(objectness, positive.to(objectness), reduction="none")
    # Where there is no object the target may be anything, even infinite: replace, do not multiply.
    target = torch.where(positive[..., None], target_offsets, offsets.detach())
    distance = F.smooth_l1_loss(offsets, target, reduction="none", beta=beta)
    objectness_loss = (nats * sampled).sum(dim=1) / num_sampled
    box_loss = weight * distance.sum(dim=(1, 2)) / divisor
    return {"rpn_objectness": objectness_loss.mean(), "rpn_box": box_loss.mean()}
