"""Fast R-CNN's multi-task loss (arXiv:1504.08083, section 2.3)."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from lit_detseg.assignment.matching import BACKGROUND


def fast_rcnn_losses(
    class_logits: Float[Tensor, "rois classes"],
    offsets: Float[Tensor, "rois classes 4"],
    labels: Int[Tensor, " rois"],
    target_offsets: Float[Tensor, "rois 4"],
    beta: float = 1.0,
) -> dict[str, Float[Tensor, ""]]:
    """Classification and box losses of the sampled RoIs (eqs. 1-3, lambda = 1).

    The paper gives the loss of one RoI. We average over the RoIs of one image, background
    included, so that the balance of the two terms does not move with the share of background;
    the caller averages over images, so that the split of a batch over ranks changes nothing.

    Args:
        class_logits: scores before softmax; class 0 is background.
        offsets: one box prediction per class, in the units of `target_offsets`.
        labels: true class of each RoI.
        target_offsets: `encode_boxes(ground truth, RoI)`, scaled to unit variance; not read
            where the label is background.
        beta: where smooth L1 turns from a square into a line: 1 in the paper and in Detectron,
            1/9 in torchvision.

    Returns:
        Two scalars: `classification` in nats, `box_regression` without unit.
    """
    num_rois = max(len(labels), 1)  # an empty image has zero loss, not NaN
    positive = (labels > BACKGROUND).nonzero().squeeze(1)
    box_loss = F.smooth_l1_loss(
        offsets[positive, labels[positive]], target_offsets[positive], reduction="sum", beta=beta
    )
    class_loss = F.cross_entropy(class_logits, labels, reduction="sum")
    return {"classification": class_loss / num_rois, "box_regression": box_loss / num_rois}
