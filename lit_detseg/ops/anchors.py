"""Anchors: boxes placed by rule on the cells of a feature map (arXiv:1506.01497, section 3.1.1).

An anchor has a size, the side in pixels of the square of the same area, and an aspect ratio,
height over width. Everywhere the order is row by row, cell by cell, anchor by anchor; within a
cell aspect ratio by aspect ratio, size by size.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lit_detseg.structures import UserError

Rounding = Literal["none", "py_faster_rcnn", "torchvision"]


def cell_anchors(
    sizes: Sequence[float],
    aspect_ratios: Sequence[float],
    stride: int = 16,
    rounding: Rounding = "none",
    device: torch.device | None = None,
) -> Float[Tensor, "anchors 4"]:
    """The anchors of one cell, XYXY pixels around the origin.

    Args:
        sizes: pixels, side of the square of the same area.
        aspect_ratios: height over width.
        stride: pixels from cell to cell; read by the rounding of py-faster-rcnn only.
        rounding: `none` keeps the areas exact. `py_faster_rcnn` rounds width and height of a box
            of one cell, then scales it up (lib/rpn/generate_anchors.py; Detectron does the same):
            ratio 0.5 gives 184 x 96 where 181 x 91 would have the area. `torchvision` rounds the
            corners to whole pixels.
        device: where to put the anchors.

    Raises:
        UserError: when a size or an aspect ratio is not positive.

    >>> cell_anchors([128.0], [0.5], rounding="py_faster_rcnn")
    tensor([[-92., -48.,  92.,  48.]])
    """
    if min(*sizes, *aspect_ratios) <= 0:
        raise UserError(
            f"Anchors of sizes {list(sizes)} and aspect ratios {list(aspect_ratios)} cannot be "
            "drawn: give pixels and height / width, all above 0."
        )
    ratio = torch.tensor(aspect_ratios, dtype=torch.float32, device=device)[:, None]
    size = torch.tensor(sizes, dtype=torch.float32, device=device)[None]
    if rounding == "py_faster_rcnn":
        cell_width = (stride / ratio.sqrt()).round()  # half to even, as numpy does there
        cell_height = (cell_width * ratio).round()
        width, height = cell_width * size / stride, cell_height * size / stride
    else:
        width, height = size / ratio.sqrt(), size * ratio.sqrt()
    corner = torch.stack([width, height], dim=-1).reshape(-1, 2) / 2
    anchors = torch.cat([-corner, corner], dim=1)
    return anchors.round() if rounding == "torchvision" else anchors


def grid_anchors(
    cell: Float[Tensor, "anchors 4"],
    grid: tuple[int, int],
    stride: int,
    center: float = 0.5,
) -> Float[Tensor, "all_anchors 4"]:
    """Put the anchors of one cell onto every cell of a feature map.

    Args:
        cell: anchors around the origin.
        grid: height and width of the feature map, in cells.
        stride: pixels from cell to cell.
        center: where in its cell an anchor is centred: 0.5 the middle, as in the paper's code
            (7.5 in its inclusive pixels is 8.0 here); 0 the upper left corner, as in torchvision
            and detectron2.

    Returns:
        XYXY pixels; `height * width * anchors` boxes.
    """
    rows, columns = (torch.arange(length, device=cell.device) for length in grid)
    y, x = torch.meshgrid((rows + center) * stride, (columns + center) * stride, indexing="ij")
    shift = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shift + cell).reshape(-1, 4)


def grid_keys(
    grid: tuple[int, int], num_anchors: int, level: int = 0, device: torch.device | None = None
) -> Int[Tensor, " all_anchors"]:
    """A number for each anchor of a grid that does not change when the image is padded.

    Anchors are drawn at random by these numbers. Were it by their place in the list, the same
    image would train on other anchors next to a larger image, and so on another split of the
    batch over ranks.

    Returns:
        level, row, column and anchor in one int64, in the order of `grid_anchors`.
    """
    parts = (torch.arange(length, device=device) for length in (*grid, num_anchors))
    row, column, anchor = torch.meshgrid(*parts, indexing="ij")
    return ((((level << 16) + row << 16) + column << 8) + anchor).flatten()
