"""Instance masks from the cells of boxes to the pixels of an image.

A mask head answers with M x M probabilities for each box. Between the centres of the cells they are
interpolated bilinearly, one axis after the other: a pixel of row y and column x is

    sum over i, j of  weight_y[y, i]  cells[i, j]  weight_x[x, j].

Methods (they differ by about half a pixel at the border of an object):
    continuous: the cells divide the box as it is, and beyond the box there are zeros: detectron2's
                `layers/mask_ops.py`, which samples with `grid_sample`. A pixel is on at or above
                the threshold.
    detectron:  a frame of zeros around the cells, the box grown to match and cut to whole pixels,
                both its corners included: Detectron's `core/test.py`, as in torchvision. A pixel
                is on above the threshold.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Method = Literal["continuous", "detectron"]

# Pixels in the making at a time, of all masks together: as many as fit a CPU's cache, or enough to
# keep an accelerator busy (64 MB).
CHUNK_ON_CPU, CHUNK = 2**20, 2**24


@dataclass(frozen=True)
class Pasting:
    """How the cells of masks become pixels.

    Args:
        threshold: least probability of a pixel that belongs to the object.
        method: see above.
    """

    threshold: float = 0.5
    method: Method = "continuous"


def paste_masks(
    cells: Float[Tensor, "masks cells cells"],
    boxes: Float[Tensor, "masks 4"],
    height: int,
    width: int,
    threshold: float = 0.5,
    method: Method = "continuous",
) -> Bool[Tensor, "masks {height} {width}"]:
    """The pixels of masks in an image of height x width pixels.

    Args:
        cells: probability in M x M cells of each box, row by row.
        boxes: XYXY in pixels of the image; what lies outside of it is cut off. A box without area
            has no pixels ("detectron": at least one).
        height: of the image.
        width: of the image.
        threshold: least probability that is on.
        method: see above.
    """
    pasted = torch.empty(len(cells), height, width, dtype=torch.bool, device=cells.device)
    compare = torch.ge if method == "continuous" else torch.gt
    for some in _chunks(pasted):
        probabilities = paste_probabilities(cells[some], boxes[some], height, width, method)
        compare(probabilities, threshold, out=pasted[some])
    return pasted


def paste_probabilities(
    cells: Float[Tensor, "masks cells cells"],
    boxes: Float[Tensor, "masks 4"],
    height: int,
    width: int,
    method: Method = "continuous",
) -> Float[Tensor, "masks {height} {width}"]:
    """The probability of each pixel, 0 outside of the boxes; all of it at once in memory.

    Args:
        cells: as in `paste_masks`.
        boxes: likewise.
        height: likewise.
        width: likewise.
        method: likewise.
    """
    axis_weights = _continuous_weights if method == "continuous" else _detectron_weights
    left, top, right, bottom = _corners(boxes, cells.shape[-1], method).unbind(1)
    rows = axis_weights(top, bottom, height, cells.shape[-1]).to(cells)
    columns = axis_weights(left, right, width, cells.shape[-1]).to(cells)
    with torch.autocast(cells.device.type, enabled=False):  # its products would move borders
        return rows @ cells @ columns.mT


def _chunks(pasted: Tensor) -> list[slice]:
    """Masks to be made together."""
    masks, height, width = pasted.shape
    most = CHUNK_ON_CPU if pasted.device.type == "cpu" else CHUNK
    step = max(most // max(height * width, 1), 1)
    return [slice(start, start + step) for start in range(0, masks, step)]


def _corners(
    boxes: Float[Tensor, "masks 4"], cells: int, method: Method
) -> Float[Tensor, "masks 4"] | Int[Tensor, "masks 4"]:
    """The boxes in which the cells lie; those of Detectron are whole pixels."""
    if method == "continuous":
        return boxes
    center = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((cells + 2) / cells)
    return torch.cat([center - half, center + half], dim=1).long()  # towards 0, as they do


def _continuous_weights(
    start: Float[Tensor, " masks"], end: Float[Tensor, " masks"], length: int, cells: int
) -> Float[Tensor, "masks {length} {cells}"]:
    """How much of each cell there is in each pixel along one axis."""
    side = (end - start)[:, None]
    pixel = torch.arange(length, device=start.device) + 0.5
    position = (pixel - start[:, None]) / side * cells - 0.5
    # Without a side every pixel lies infinitely far away.
    return _hat(position.where(side > 0, -torch.inf), cells)


def _detectron_weights(
    first: Int[Tensor, " masks"], last: Int[Tensor, " masks"], length: int, cells: int
) -> Float[Tensor, "masks {length} {cells}"]:
    """The same, with one cell of zeros at either end and pixels `first` to `last`."""
    pixel = torch.arange(length, device=first.device)
    first, last = first[:, None], last[:, None]
    position = (pixel - first + 0.5) * (cells + 2) / (last - first + 1) - 0.5
    # The outermost half cells of the frame are as its centres are: zeros.
    position = position.clamp(0, cells + 1) - 1
    return _hat(position.where((pixel >= first) & (pixel <= last), -torch.inf), cells)


def _hat(
    position: Float[Tensor, "masks pixels"], cells: int
) -> Float[Tensor, "masks pixels {cells}"]:
    """1 at a cell's centre, 0 from its neighbours' centres on.

    `position` is counted in cells, 0 at the centre of the first.
    """
    number = torch.arange(cells, device=position.device)
    return (1 - (position[..., None] - number).abs()).clamp(min=0)
