"""Detections from pixels of the resized image back to pixels of the original."""

import torch
from torch import Tensor

from lit_detseg.structures import BoxTarget, Detections, Images


def to_original_size(
    detections: list[Detections], images: Images, targets: list[BoxTarget]
) -> list[Detections]:
    """Undo what was done to each image, each axis by itself.

    Returns:
        Detections on the CPU, boxes float64 XYXY within [0, width] x [0, height] of the original.
    """
    result = []
    for found, size, target in zip(detections, images.sizes.tolist(), targets, strict=True):
        scale, offset = _placement(target, size)
        height, width = target.original_size
        limit = torch.tensor([width, height, width, height], dtype=torch.float64)
        boxes = (found.boxes.detach().cpu().double() - offset) / scale
        result.append(
            found._replace(
                boxes=boxes.clamp(min=0).minimum(limit),
                labels=found.labels.cpu(),
                scores=found.scores.detach().cpu(),
            )
        )
    return result


def _placement(target: BoxTarget, size: list[int]) -> tuple[Tensor, Tensor]:
    """Scale and offset of boxes from the original to the resized image, each (4,) float64."""
    if target.placement is None:
        (height, width), (old_height, old_width) = size, target.original_size
        placement = (width / old_width, height / old_height, 0.0, 0.0)
    else:
        placement = target.placement
    scale, offset = torch.tensor(placement, dtype=torch.float64).reshape(2, 2)
    return scale.repeat(2), offset.repeat(2)
