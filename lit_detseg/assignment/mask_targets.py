"""What each cell of a RoI is to learn: inside its object, or outside.

Sources: Mask R-CNN (arXiv:1703.06870, section 3.1): "the intersection between an RoI and its
associated ground-truth mask"; Detectron (roi_data/mask_rcnn.py) draws the polygons at the
resolution of the RoI; torchvision (roi_heads.py, project_masks_on_boxes) resamples a bitmap.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import roi_align

from lit_detseg.ops.masks import rasterise
from lit_detseg.structures import InstanceMasks

MaskTargets = Literal["drawn", "resampled"]


def mask_targets(
    masks: InstanceMasks,
    objects: Int[Tensor, " rois"],
    rois: Float[Tensor, "rois 4"],
    cells: int,
    image_size: tuple[int, int],
    method: MaskTargets = "drawn",
) -> Float[Tensor, "rois {cells} {cells}"]:
    """The masks of objects, cut out by RoIs.

    Args:
        masks: of all objects of the image.
        objects: which of them each RoI is on.
        rois: XYXY pixels.
        cells: along each side of a RoI.
        image_size: height and width in pixels; `resampled` draws whole images.
        method: `drawn` draws what was annotated at the resolution of the RoI: 1 where the middle of
            a cell lies inside, else 0. `resampled` draws it in whole pixels first and takes means
            of those with RoIAlign (Detectron's first, half a pixel off), as torchvision does: the
            targets are fractions.

    Returns:
        On the device of the RoIs.
    """
    numbers = objects.cpu().numpy()
    if method == "drawn":
        boxes = rois.double().cpu().numpy()
        pixels = rasterise(masks, numbers, boxes, cells, cells)
        return torch.from_numpy(pixels).to(rois)
    height, width = image_size
    unique, place = np.unique(numbers, return_inverse=True)
    whole = np.tile(np.array([0.0, 0.0, width, height]), (len(unique), 1))
    bitmaps = torch.from_numpy(rasterise(masks, unique, whole, height, width)).to(rois)
    indexed = torch.cat([torch.from_numpy(place).to(rois)[:, None], rois], dim=1)
    return roi_align(bitmaps[:, None], indexed, (cells, cells))[:, 0]
