"""Regions of an image as crops of one size: what R-CNN does to every proposal.

Sources: R-CNN (arXiv:1311.2524, appendix A); its program (rcnn_im_crop.m), whose arithmetic Caffe's
window data layer repeats for training.

Names:
    crop:    the square that the network sees, `side` pixels wide and high.
    context: what a crop shows around its region on each side, `context` pixels of the crop.
    window:  region and context together, whole pixels of the image; may reach over its border.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

CropMode = Literal["warp", "square"]


class _Span(NamedTuple):
    """One axis of the windows: what is seen of each, and where in the crop that goes."""

    first: Float[Tensor, " regions"]  # pixel of the image
    seen: Float[Tensor, " regions"]  # pixels of the image from there on; may be 0
    before: Float[Tensor, " regions"]  # pixels of the crop that lie before the image
    length: Float[Tensor, " regions"]  # pixels of the crop that show it


def warp_regions(
    image: Float[Tensor, "channels height width"],
    boxes: Float[Tensor, "regions 4"],
    side: int,
    context: int = 16,
    mode: CropMode = "warp",
) -> Float[Tensor, "regions channels {side} {side}"]:
    """Cut every region out of an image, and stretch it to a square.

    What a crop shows beyond the border of the image is exactly 0, the mean colour of a normalised
    image. Bilinear interpolation without smoothing, like OpenCV's, and like it confined to the
    window: what lies around it does not bleed in.

    Args:
        image: normalised pixels, without the padding of a batch.
        boxes: XYXY pixels.
        side: of the crops, in pixels; more than twice the context.
        context: pixels of the crop; 16 of 227 in the paper.
        mode: `warp` stretches both axes by themselves; `square` takes a square of the longer side
            of the region ("tightest square with context"), so that nothing is distorted.
    """
    height, width = image.shape[1:]
    columns, rows = _windows(boxes.double(), (width, height), side, context, mode)
    # One grid for all crops, one below the other: a single image is sampled, never copied.
    x, sees_x = _positions(columns, width, side)
    y, sees_y = _positions(rows, height, side)
    grid = image.new_empty(len(boxes), side, side, 2)
    grid[..., 0], grid[..., 1] = x[:, None, :], y[:, :, None]
    crops = F.grid_sample(
        image[None], grid.reshape(1, -1, side, 2), padding_mode="border", align_corners=False
    )
    crops = crops.reshape(len(image), len(boxes), side, side).transpose(0, 1)
    return crops * (sees_y[:, None, :, None] & sees_x[:, None, None, :])


def _windows(
    boxes: Float[Tensor, "regions 4"],
    image_size: tuple[int, int],
    side: int,
    context: int,
    mode: CropMode,
) -> tuple[_Span, _Span]:
    """Columns and rows of each window, in whole numbers.

    The program counts pixels from 1 and rounds first and last pixel of a window around the middle
    x1 + w / 2, half a pixel right of the region's own; a window is one pixel longer than scaled.
    Halves are rounded up, so that nothing depends on where an image begins; MATLAB and C round
    those below 0 down.
    """
    corner, far = boxes.split(2, dim=1)
    half = (far - corner) / 2
    middle = corner + half
    if mode == "square":
        half = half.amax(dim=1, keepdim=True).expand_as(half)
    reach = half * (side / (side - 2 * context))
    first = _rounded(middle - reach)
    end = _rounded(middle + reach) + 1
    limit = first.new_tensor(image_size)
    seen_first, seen_end = first.clamp(min=0), end.minimum(limit)
    scale = first.new_tensor(side) / (end - first)  # a plain number would be divided inexactly
    seen = (seen_end - seen_first).clamp(min=0)
    before = _rounded((seen_first - first) * scale)
    length = _rounded(seen * scale).minimum(side - before)
    spans = [_Span(*parts) for parts in torch.stack([seen_first, seen, before, length]).unbind(2)]
    return spans[0], spans[1]


def _positions(
    span: _Span, image_length: int, side: int
) -> tuple[Float[Tensor, "regions {side}"], Tensor]:
    """Where each pixel of a crop looks along one axis, from -1 to 1, and whether it sees the image.

    Pixel j of the visible n shows (j + 1/2) m / n of the window's visible m, and never more than
    the middles of its first and last pixel.
    """
    first, seen, before, length = (part[:, None] for part in span)
    place = torch.arange(side, device=first.device) - before
    inside = (place >= 0) & (place < length)
    position = (place + 0.5) * seen / length.clamp(min=1)
    position = first + position.clamp(min=0.5).minimum((seen - 0.5).clamp(min=0.5))
    return 2 * position / image_length - 1, inside


def _rounded(values: Tensor) -> Tensor:
    return (values + 0.5).floor()
