"""Position-sensitive maps: a region takes each of its parts from another map.

Sources: R-FCN (arXiv:1605.06409, eq. 1); FCIS (arXiv:1611.07709, section 2) and its released
psroi_pooling.cu, which both share.

A convolution answers alike wherever it sees the same pixels. So that one pixel may be the left part
of one object and the right part of its neighbour, a quantity has groups x groups maps, one for each
part of a region, and the region puts its own map together from them.

Names:
    groups:  parts of a region along each side, k in the papers.
    cells:   of a region's own map along each side, a multiple of `groups`.
    inside:  how well a cell shows a part of an object of some class, and lies on the object.
    outside: the same, but the cell lies beside the object.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from lit_detseg.ops.pooling import with_image_index

# A region is at least a tenth of a cell of the feature map wide and high (psroi_pooling.cu).
TENTHS = 10


def pool_position_sensitive(
    maps: Float[Tensor, "images channels height width"],
    rois: list[Float[Tensor, "_ 4"]],
    stride: int,
    groups: int = 7,
    cells: int = 21,
) -> Float[Tensor, "rois quantities {cells} {cells}"]:
    """Cut every region out of the maps; each of its cells out of the map of its part.

    The corners of a region are rounded to whole pixels, then it is divided into cells x cells bins.
    A bin is the mean of all cells of the map that it touches, 0 where it touches none.

    torchvision's `ps_roi_pool` has one bin per part, rounds to whole cells of the map, and never
    reads the last row and column: with stride 1, cells = groups and regions that end before those
    it is the same.

    Args:
        maps: channel (q groups + i) groups + j is quantity q, in the part of row i and column j.
        rois: for each image its regions, XYXY pixels of the image; none begins before 0.
        stride: pixels per cell of the maps.
        groups: see above.
        cells: see above.

    Returns:
        In float32, whatever autocast made of the maps: the regions of the first image, then of the
        second...
    """
    image, *corners = with_image_index(rois).split([1, 2, 2], dim=1)
    first, last = ((corner + 0.5).floor().long() for corner in corners)  # C's round()
    _, channels, height, width = maps.shape
    columns, across = _bins(first[:, 0], last[:, 0], width, stride, cells)
    rows, down = _bins(first[:, 1], last[:, 1], height, stride, cells)
    # One table row for each place of each part, holding all quantities there.
    table = maps.float().unflatten(1, (channels // groups**2, groups**2)).movedim(1, -1)
    part = torch.arange(cells, device=maps.device) * groups // cells
    plane = image.long()[:, :, None] * groups**2 + part[:, None] * groups + part
    place = (plane[..., None, None] * height + rows[:, :, None, :, None]) * width
    place = place + columns[:, None, :, None, :]
    weight = down[:, :, None, :, None] * across[:, None, :, None, :]
    pooled = F.embedding_bag(
        place.flatten(3).flatten(0, 2),
        table.flatten(0, 3),
        per_sample_weights=weight.flatten(3).flatten(0, 2),
        mode="sum",
    )
    return pooled.unflatten(0, (len(place), cells, cells)).movedim(-1, 1)


def _bins(
    first: Int[Tensor, " rois"], last: Int[Tensor, " rois"], length: int, stride: int, cells: int
) -> tuple[Int[Tensor, "rois {cells} touched"], Float[Tensor, "rois {cells} touched"]]:
    """What each bin of each region touches of a map, along one axis.

    In whole numbers, so that no device rounds differently.

    Args:
        first: first pixel of each region.
        last: the pixel behind its last.
        length: of the map.
        stride: pixels per cell of the map.
        cells: bins of a region.

    Returns:
        Cells of the map, as many for each bin as the largest touches, and the share of each in the
        mean: 0 for those that are too many.
    """
    unit = TENTHS * stride * cells  # of a cell of the map
    side = (TENTHS * (last - first)).clamp(min=stride)
    bins = torch.arange(cells + 1, device=first.device)
    edge = TENTHS * cells * first[:, None] + bins * side[:, None]
    start = (edge[:, :-1] // unit).clamp(0, length)
    end = (-(-edge[:, 1:] // unit)).clamp(0, length)
    touched = (end - start).clamp(min=0)
    number = torch.arange(max(int(touched.amax()), 1) if len(first) else 1, device=first.device)
    share = (number < touched[..., None]) / touched.clamp(min=1)[..., None]
    return (start[..., None] + number).clamp(max=length - 1), share


def class_logits(
    scores: Float[Tensor, "rois classes 2 cells cells"],
) -> Float[Tensor, "rois classes"]:
    """Which class a region shows: the mean over its cells of max(outside, inside) (section 2.2).

    Either of the two says that the cell belongs to the box of such an object; so the same maps
    classify and draw.

    Args:
        scores: outside, then inside.
    """
    return scores.amax(dim=2).mean(dim=(2, 3))


def mask_probabilities(
    scores: Float[Tensor, "rois classes 2 cells cells"], classes: Int[Tensor, " rois"]
) -> Float[Tensor, "rois cells cells"]:
    """Where the object of one class of each region is: softmax over outside and inside.

    Args:
        scores: outside, then inside.
        classes: which class of each region is asked for.
    """
    chosen = scores[torch.arange(len(classes), device=classes.device), classes]
    return chosen.softmax(dim=1)[:, 1]
