"""Mask voting: the masks of overlapping regions, averaged (FCIS, arXiv:1611.07709, section 2.3).

Source of the details: the released lib/mask/mask_transform.py. It votes in pixels of the original
image; here it is in those of the image that the detector sees.

Names:
    candidates: all regions that were scored, chosen or not.
    voters:     the candidates that overlap a chosen one enough, itself included.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import box_iou


def vote_masks(
    boxes: Float[Tensor, "candidates 4"],
    cells: Float[Tensor, "candidates cells cells"],
    scores: Float[Tensor, "candidates classes"],
    chosen: Int[Tensor, " chosen"],
    classes: Int[Tensor, " chosen"],
    iou_threshold: float = 0.5,
    threshold: float = 0.4,
) -> tuple[Float[Tensor, "chosen 4"], Float[Tensor, "chosen cells cells"], Bool[Tensor, " chosen"]]:
    """A better mask for each chosen region, and the box tight around it.

    Each voter draws its mask in whole pixels of its own box. Their mean, weighted by their scores
    for the class of the chosen region, is the new mask where it reaches the threshold. (The paper
    lets masks of one class vote; the released code has one mask for all classes of a region.)

    Args:
        boxes: XYXY pixels, within the image.
        cells: the mask of each candidate, probabilities in cells of its box.
        scores: probability of each class.
        chosen: which candidates remain.
        classes: as what.
        iou_threshold: least IoU of a voter with the chosen box.
        threshold: least probability of a pixel on the object, in the mask of a voter and in the
            mean.

    Returns:
        - boxes in whole pixels, XYXY;
        - the mean in cells of them;
        - whether there is a mask at all; where the voters agree on no pixel, the box has no area.
    """
    corners = (boxes + 0.5).floor()
    votes = box_iou(boxes[chosen], boxes) >= iou_threshold
    new_boxes, new_cells = torch.zeros_like(boxes[chosen]), torch.zeros_like(cells[chosen])
    for number, label in enumerate(classes.tolist()):
        voters = votes[number].nonzero().squeeze(1)
        weights = scores[voters, label]
        origin, mean = _mean_mask(corners[voters], cells[voters], weights, threshold)
        on = (mean >= threshold).nonzero()
        if len(on):
            (top, left), (bottom, right) = on.amin(dim=0).tolist(), (on.amax(dim=0) + 1).tolist()
            box = torch.tensor([left, top, right, bottom], device=origin.device)
            new_boxes[number] = origin.repeat(2) + box
            cut = mean[None, None, top:bottom, left:right]
            new_cells[number] = F.interpolate(cut, new_cells.shape[1:], mode="bilinear")[0, 0]
    return new_boxes, new_cells, (new_boxes[:, 2:] > new_boxes[:, :2]).all(dim=1)


def _mean_mask(
    corners: Float[Tensor, "voters 4"],
    cells: Float[Tensor, "voters cells cells"],
    weights: Float[Tensor, " voters"],
    threshold: float,
) -> tuple[Float[Tensor, "2"], Float[Tensor, "height width"]]:
    """The vote on each pixel of the box around all voters, and where this box begins (x, y)."""
    origin = corners[:, :2].amin(dim=0)
    width, height = (corners[:, 2:].amax(dim=0) - origin).long().tolist()
    left, top, right, bottom = (corners - origin.repeat(2)).unbind(1)
    rows = _interpolation(top, bottom, height, cells.shape[-1])
    columns = _interpolation(left, right, width, cells.shape[-1])
    with torch.autocast(cells.device.type, enabled=False):  # half precision would move the border
        masks = rows @ cells @ columns.mT >= threshold
    shares = weights / weights.sum()
    mean = (shares[:, None, None] * masks).sum(dim=0)
    return origin, mean.clamp(max=1)  # shares may add up to a little more


def _interpolation(
    start: Float[Tensor, " voters"], end: Float[Tensor, " voters"], length: int, cells: int
) -> Float[Tensor, "voters {length} {cells}"]:
    """How much of each cell there is in each pixel along one axis: linear, 0 outside the box.

    As `cv2.resize` has it: beyond the middle of the last cell its value goes on.
    """
    pixel = torch.arange(length, device=start.device) + 0.5
    start, end = start[:, None], end[:, None]
    position = (pixel - start) / (end - start).clamp(min=1) * cells - 0.5
    number = torch.arange(cells, device=start.device)
    share = (1 - (position.clamp(0, cells - 1)[..., None] - number).abs()).clamp(min=0)
    return share * ((pixel > start) & (pixel < end))[..., None]
