"""Features of a region: RoI pooling and RoIAlign, from one feature map or from a pyramid; SPP.

Sources: RoI pooling, Fast R-CNN (arXiv:1504.08083, section 2.1); RoIAlign, Mask R-CNN
(arXiv:1703.06870, section 3); the level of a RoI, FPN (arXiv:1612.03144, eq. 1); spatial pyramid
pooling, SPP-net (arXiv:1406.4729, sections 2.2 and 4.1, appendix A).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import roi_align, roi_pool

RoIPooling = Literal["roi_pool", "roi_warp", "roi_align", "roi_align_legacy"]


def pool_rois(
    features: list[Float[Tensor, "images channels _ _"]],
    rois: list[Float[Tensor, "_ 4"]],
    strides: Sequence[int],
    output_size: int = 7,
    method: RoIPooling = "roi_align",
    sampling_ratio: int = 2,
) -> Float[Tensor, "rois channels output_size output_size"]:
    """Cut every RoI out of the feature maps, as a map of `output_size` x `output_size` bins.

    Args:
        features: one map per level, finest first. With several, a RoI is cut out of the one that
            `roi_level` names.
        rois: for each image its RoIs, XYXY pixels of the image.
        strides: pixels per cell of each map.
        output_size: bins along each side.
        method: `roi_pool` is Fast R-CNN's: borders rounded to whole cells, maximum of each bin.
            `roi_warp` rounds the borders likewise, and takes the mean of bilinear samples (as
            Mask R-CNN, table 2c, says of arXiv:1512.04412). `roi_align` is Mask R-CNN's: no
            rounding, mean of bilinear samples, a cell's value stands at its middle.
            `roi_align_legacy` is the first RoIAlign of Detectron, half a cell off and never smaller
            than one cell: what torchvision's detectors are trained with.
        sampling_ratio: samples along each side of a bin, but for RoI pooling; 0 takes one per cell.

    Returns:
        The RoIs of the first image, then of the second...
    """
    indexed = with_image_index(rois)
    level = roi_level(indexed[:, 1:], strides)
    of_level = [(level == i).nonzero().squeeze(1) for i in range(len(features))]
    pooled = [
        _pool_level(feature, indexed[chosen], stride, output_size, method, sampling_ratio)
        for feature, chosen, stride in zip(features, of_level, strides, strict=True)
    ]
    return torch.cat(pooled)[torch.cat(of_level).argsort()]


def _pool_level(
    feature: Float[Tensor, "images channels height width"],
    rois: Float[Tensor, "rois 5"],
    stride: int,
    output_size: int,
    method: RoIPooling,
    sampling_ratio: int,
) -> Float[Tensor, "rois channels output_size output_size"]:
    """Pool from one map, in float32: half precision cannot hold the coordinates of a RoI."""
    pixels, size = feature.float(), (output_size, output_size)
    # Fast R-CNN's RoIs end *at* their last pixel, ours one after it.
    last = rois.new_tensor([0.0, 0.0, 0.0, 1.0, 1.0])
    if method == "roi_pool":
        pooled = roi_pool(pixels, rois - last, size, 1 / stride)
    elif method == "roi_warp":
        cells = ((rois - last)[:, 1:] / stride + 0.5).floor()  # half up, as C's round() does
        whole = torch.cat([rois[:, :1], cells], dim=1) + last
        pooled = roi_align(pixels, whole, size, 1.0, sampling_ratio, aligned=True)
    else:
        aligned = method == "roi_align"
        pooled = roi_align(pixels, rois, size, 1 / stride, sampling_ratio, aligned)
    return pooled.to(feature.dtype)


def roi_level(boxes: Float[Tensor, "rois 4"], strides: Sequence[int]) -> Int[Tensor, " rois"]:
    """The level that has a RoI at the resolution of ImageNet training (FPN, eq. 1).

    k = floor(k0 + log2(sqrt(w h) / 224)), k0 = 4: a RoI of 224 x 224 pixels belongs to the map of
    stride 2^4, one of half that side to the next finer map.

    Args:
        boxes: XYXY pixels.
        strides: of the maps, finest first, each twice the one before.

    Returns:
        Index into `strides`; sizes beyond the pyramid go to its nearest end.
    """
    size = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
    # The small term keeps sizes that are exact powers of two on their level, rounding or not.
    level = (4 + (size / 224).log2() + 1e-6).floor()
    finest = round(math.log2(strides[0]))
    return (level.clamp(finest, finest + len(strides) - 1) - finest).long()


def with_image_index(boxes: list[Float[Tensor, "_ 4"]]) -> Float[Tensor, "boxes 5"]:
    """Join the boxes of all images, each with the index of its image before it."""
    counts = [len(of_image) for of_image in boxes]
    joined = torch.cat(boxes)
    image = torch.cat([joined.new_full((n, 1), i) for i, n in enumerate(counts)])
    return torch.cat([image, joined], dim=1)


def pool_pyramid(
    feature: Float[Tensor, "channels height width"],
    windows: Int[Tensor, "windows 4"],
    levels: Sequence[int],
) -> Float[Tensor, "windows features"]:
    """Spatial pyramid pooling: the maximum in each bin of ever coarser grids over a window.

    Bin i of n along an axis of w cells takes those from floor(i w / n) to before
    ceil((i + 1) w / n): neighbours may share a cell, none is empty (SPP-net, appendix A).

    Args:
        feature: a map.
        windows: XYXY in whole cells, the last ones not included; at least one cell each.
        levels: bins along each side of each grid, (6, 3, 2, 1) in the paper.

    Returns:
        The grids one after the other, each channel by channel, row by row.
    """
    grids, whole = [], feature[None].float().contiguous()
    for bins in levels:
        left, top, right, bottom = _bin_borders(windows, bins)
        # Each bin is a RoI of its own with a single bin: torchvision's divisions are by 1, exact.
        rois = torch.stack([torch.zeros_like(left), left, top, right - 1, bottom - 1], dim=-1)
        pooled = roi_pool(whole, rois.reshape(-1, 5).float(), (1, 1))
        pooled = pooled.reshape(len(windows), bins**2, len(feature)).transpose(1, 2)
        grids.append(pooled.reshape(len(windows), -1))
    return torch.cat(grids, dim=1).to(feature.dtype)


def _bin_borders(
    windows: Int[Tensor, "windows 4"], bins: int
) -> tuple[Int[Tensor, "windows {bins} {bins}"], ...]:
    """Left, top, right and bottom cell of each bin: row by row; the last two not included."""
    place = torch.arange(bins, device=windows.device)
    first, size = windows[:, None, :2], (windows[:, 2:] - windows[:, :2])[:, None]
    place = place[None, :, None]
    start = first + place * size // bins
    end = first - (-(place + 1) * size) // bins
    shape = len(windows), bins, bins
    left, right = (border[..., 0][:, None, :].expand(shape) for border in (start, end))
    top, bottom = (border[..., 1][:, :, None].expand(shape) for border in (start, end))
    return left, top, right, bottom


def window_cells(
    windows: Float[Tensor, "windows 4"],
    map_size: tuple[int, int],
    stride: int = 16,
    first_middle: float = 0.5,
) -> Int[Tensor, "windows 4"]:
    """The cells of a map that look at the inside of a window (SPP-net, appendix A).

    Along each axis those from floor(x / S) + 1 to ceil(x / S) - 1, where x is the window's first
    and last pixel, counted from the middle of what the first cell sees: all cells whose middle lies
    between the two. Where there is none, the two bounds become their own middle.

    The formula is the paper's (x = S x' for the middle of cell x') and, with offset = S / 2 and
    offset0 = the middle of the first cell, that of the program (spm_response_boxes.m), whose
    constants for ZF are not published.

    Args:
        windows: XYXY pixels of the image that the map was made from.
        map_size: rows and columns of the map; cells beyond are left out.
        stride: S, pixels per cell.
        first_middle: middle of what cell 0 sees, in continuous pixels: 0.5, the first pixel, for a
            network whose every layer of k x k is padded by k // 2.

    Returns:
        XYXY in cells, the last ones not included; at least one cell each.
    """
    pixels = windows.double() + windows.new_tensor([0.5, 0.5, -0.5, -0.5]) - first_middle
    first = (pixels[:, :2] / stride).floor() + 1
    last = (pixels[:, 2:] / stride).ceil() - 1
    middle = ((first + last) / 2).floor()
    inverted = first > last
    first, last = middle.where(inverted, first), middle.where(inverted, last)
    limit = first.new_tensor(map_size).flip(0) - 1
    first, last = (bound.clamp(min=0).minimum(limit) for bound in (first, last))
    return torch.cat([first, last + 1], dim=1).long()


def closest_scale(
    windows: Float[Tensor, "windows 4"], factors: Sequence[float], side: float = 224
) -> Int[Tensor, " windows"]:
    """At which scale a window's area is closest to `side` x `side` (SPP-net, section 4.1).

    The program compares sides, 224 / sqrt(area), not areas, and rounds them first; the two differ
    for windows about halfway between two scales.

    Args:
        windows: XYXY pixels of the image.
        factors: what its sides are multiplied by at each scale.
        side: of ImageNet training.

    Returns:
        Index into `factors`; the first of two that are as close.
    """
    area = (windows[:, 2:] - windows[:, :2]).clamp(min=0).double().prod(dim=1)
    scaled = area[:, None] * area.new_tensor(factors).square()
    return (scaled - side**2).abs().argmin(dim=1)
