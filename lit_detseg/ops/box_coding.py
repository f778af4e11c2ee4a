"""Boxes to regression offsets and back (R-CNN, arXiv:1311.2524, appendix C).

Names:
    reference: the box we start from, an anchor or a proposal, XYXY pixels.
    target:    the box we want, usually ground truth, XYXY pixels.
    offsets:   (t_x, t_y, t_w, t_h), no unit: shift in reference sizes, log of the size ratio.

A width is x2 - x1. Some of the original programs add 1 when they encode, others do not; with
continuous boxes nothing is to be added, and decoding undoes encoding exactly.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.ops import box_convert

# exp() of a wild early prediction would overflow: stop at a 16-pixel anchor on a 1000-pixel object.
# Not in the paper; Detectron, detectron2 and torchvision do the same.
MAX_LOG_SIZE_RATIO = math.log(1000 / 16)


def encode_boxes(
    target: Float[Tensor, "*#boxes 4"], reference: Float[Tensor, "*#boxes 4"]
) -> Float[Tensor, "*boxes 4"]:
    """Offsets that move `reference` onto `target` (eqs. 6-9).

    >>> encode_boxes(torch.tensor([[5.0, 0, 15, 20]]), torch.tensor([[0.0, 0, 10, 10]]))
    tensor([[0.5000, 0.5000, 0.0000, 0.6931]])
    """
    center, size = box_convert(target, "xyxy", "cxcywh").split(2, dim=-1)
    ref_center, ref_size = box_convert(reference, "xyxy", "cxcywh").split(2, dim=-1)
    return torch.cat([(center - ref_center) / ref_size, (size / ref_size).log()], dim=-1)


def decode_boxes(
    offsets: Float[Tensor, "*#boxes 4"], reference: Float[Tensor, "*#boxes 4"]
) -> Float[Tensor, "*boxes 4"]:
    """Move `reference` by `offsets`: the inverse of `encode_boxes` (eqs. 1-4).

    Computed in the precision of `reference`: offsets from a network under autocast may come in
    half precision, whose exp() would be off by pixels.
    """
    shift, log_ratio = offsets.to(reference.dtype).split(2, dim=-1)
    ref_center, ref_size = box_convert(reference, "xyxy", "cxcywh").split(2, dim=-1)
    center = ref_center + shift * ref_size
    size = ref_size * log_ratio.clamp(max=MAX_LOG_SIZE_RATIO).exp()
    return box_convert(torch.cat([center, size], dim=-1), "cxcywh", "xyxy")
