"""Features of a region: RoI pooling and RoIAlign, from one feature map or from a pyramid.

Sources: RoI pooling, Fast R-CNN (arXiv:1504.08083, section 2.1); RoIAlign, Mask R-CNN
(arXiv:1703.06870, section 3); the level of a RoI, FPN (arXiv:1612.03144, eq. 1).
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
