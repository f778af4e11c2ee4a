"""Detections from pixels of the resized image back to pixels of the original."""

import torch
from torch import Tensor

from lit_detseg.ops.pasting import Pasting, paste_masks
from lit_detseg.structures import BoxTarget, Detections, Images, UserError


def to_original_size(
    detections: list[Detections],
    images: Images,
    targets: list[BoxTarget],
    pasting: Pasting | None = None,
) -> list[Detections]:
    """Undo what was done to each image, each axis by itself.

    Boxes go first. Masks in cells of the boxes are then pasted into the original image, where the
    detector runs; a detector's own pixels are looked up at the centre of each original pixel.

    Args:
        detections: of B images.
        images: the same, as the detector saw them.
        targets: `original_size` and `placement` are read.
        pasting: how cells become pixels; not given: as in detectron2, from a probability of 0.5.

    Returns:
        Detections on the CPU, boxes float64 XYXY within [0, width] x [0, height] of the original;
        `masks` (K, height, width) bool where there were masks of either kind, `mask_cells` None.

    Raises:
        UserError: when a detector's masks do not cover the image.
    """
    result = []
    for found, size, target in zip(detections, images.sizes.tolist(), targets, strict=True):
        scale, offset = _placement(target, size)
        height, width = target.original_size
        limit = torch.tensor([width, height, width, height], dtype=torch.float64)
        boxes = (found.boxes.detach().cpu().double() - offset) / scale
        boxes = boxes.clamp(min=0).minimum(limit)
        masks = found.masks
        if masks is not None:
            masks = _looked_up(masks, scale, offset, size, target)
        elif found.mask_cells is not None:
            masks = _pasted(found.mask_cells, boxes, target, pasting or Pasting())
        result.append(
            found._replace(
                boxes=boxes,
                labels=found.labels.cpu(),
                scores=found.scores.detach().cpu(),
                masks=masks,
                mask_cells=None,
            )
        )
    return result


def _pasted(cells: Tensor, boxes: Tensor, target: BoxTarget, pasting: Pasting) -> Tensor:
    """(K, height, width) bool of the original image."""
    # In float32, as the detector's own boxes: not every accelerator knows float64.
    there = boxes.float().to(cells.device)
    cells = cells.detach().float()
    return paste_masks(cells, there, *target.original_size, pasting.threshold, pasting.method).cpu()


def _looked_up(
    masks: Tensor, scale: Tensor, offset: Tensor, size: list[int], target: BoxTarget
) -> Tensor:
    """(K, height, width) bool of the original image: each pixel that of the nearest shown one."""
    if len(masks) and (masks.shape[1] < size[0] or masks.shape[2] < size[1]):
        raise UserError(
            f"Image {target.image_id} is shown as {size[0]} x {size[1]} pixels, but the detector's "
            f"masks have {masks.shape[1]} x {masks.shape[2]}. `Detections.masks` are in pixels of "
            "the image that the detector sees; masks in cells of boxes are `mask_cells`."
        )
    columns, rows = (
        ((torch.arange(length) + 0.5) * scale[axis] + offset[axis]).long().clamp(0, shown - 1)
        for axis, (length, shown) in enumerate(
            zip(target.original_size[::-1], size[::-1], strict=True)
        )
    )
    picked = masks.detach().index_select(1, rows.to(masks.device))
    return picked.index_select(2, columns.to(masks.device)).bool().cpu()


def _placement(target: BoxTarget, size: list[int]) -> tuple[Tensor, Tensor]:
    """Scale and offset of boxes from the original to the resized image, each (4,) float64."""
    if target.placement is None:
        (height, width), (old_height, old_width) = size, target.original_size
        placement = (width / old_width, height / old_height, 0.0, 0.0)
    else:
        placement = target.placement
    scale, offset = torch.tensor(placement, dtype=torch.float64).reshape(2, 2)
    return scale.repeat(2), offset.repeat(2)
