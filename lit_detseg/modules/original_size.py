"""Detections from pixels of the resized image back to pixels of the original."""

import torch

from lit_detseg.structures import BoxTarget, Detections, Images


def to_original_size(
    detections: list[Detections], images: Images, targets: list[BoxTarget]
) -> list[Detections]:
    """Scale the boxes of each image by original over resized size, each axis by itself.

    Returns:
        Detections on the CPU, boxes float64 XYXY within [0, width] x [0, height] of the original.
    """
    original = torch.tensor([target.original_size for target in targets], dtype=torch.float64)
    ratios = original.reshape(-1, 2) / images.sizes.cpu()
    result = []
    for found, ratio, target in zip(detections, ratios, targets, strict=True):
        height, width = target.original_size
        limit = torch.tensor([width, height, width, height], dtype=torch.float64)
        boxes = found.boxes.detach().cpu().double() * ratio.flip(0).repeat(2)
        result.append(
            found._replace(
                boxes=boxes.clamp(min=0).minimum(limit),
                labels=found.labels.cpu(),
                scores=found.scores.detach().cpu(),
            )
        )
    return result
