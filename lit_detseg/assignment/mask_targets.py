"""What each cell of a RoI is to learn: inside its object, or outside.

Sources: Mask R-CNN (arXiv:1703.06870, section 3.1): "the intersection between an RoI and its
associated ground-truth mask"; Detectron (roi_data/mask_rcnn.py) draws the polygons at the
resolution of the RoI; torchvision (roi_heads.py, project_masks_on_boxes) resamples a bitmap; FCIS
(proposal_annotator.py) cuts the RoI out of a bitmap and resizes the piece.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchvision.ops import roi_align

from lit_detseg.assignment.matching import is_learned
from lit_detseg.assignment.roi_sampling import SampledRoIs
from lit_detseg.ops.masks import rasterise
from lit_detseg.structures import BoxTarget, InstanceMasks, UserError

MaskTargets = Literal["drawn", "resampled", "cropped"]


@torch.no_grad()
def roi_mask_targets(
    rois: SampledRoIs,
    target: BoxTarget,
    cells: int,
    image_size: Sequence[int],
    method: MaskTargets = "drawn",
) -> Float[Tensor, "rois {cells} {cells}"]:
    """The masks of the objects that RoIs are on, cut out by the RoIs.

    Args:
        rois: all of them on objects.
        target: the objects of their image.
        cells: along each side of a RoI.
        image_size: height and width in pixels.
        method: see `mask_targets`.

    Raises:
        UserError: when the target has no masks.
    """
    if not len(rois.boxes):
        return rois.boxes.new_zeros(0, cells, cells)
    if target.masks is None:
        raise UserError(
            f"The objects of image {target.image_id} come without masks, and this model learns "
            "masks. Set --data.masks=true, and pack the shards from annotations with masks."
        )
    places = is_learned(target).nonzero().squeeze(1)[rois.objects.cpu()]
    height, width = image_size
    return mask_targets(target.masks, places, rois.boxes, cells, (height, width), method)


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
        image_size: height and width in pixels; all but `drawn` draw whole images.
        method: `drawn` draws what was annotated at the resolution of the RoI: 1 where the middle of
            a cell lies inside, else 0. `resampled` draws it in whole pixels first and takes means
            of those with RoIAlign (Detectron's first, half a pixel off), as torchvision does: the
            targets are fractions. `cropped` rounds the RoI to whole pixels and interpolates
            bilinearly between those around the middle of a cell, as FCIS does (there between those
            of the RoI alone, which matters below 1 pixel per cell): fractions likewise.

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
    cut = method == "cropped"
    corners = (rois + 0.5).floor() if cut else rois
    indexed = torch.cat([torch.from_numpy(place).to(rois)[:, None], corners], dim=1)
    samples = 1 if cut else -1  # along each side of a cell; -1: as many as it has pixels
    return roi_align(
        bitmaps[:, None], indexed, (cells, cells), sampling_ratio=samples, aligned=cut
    )[:, 0]
