"""Pictures that proposals are looked for in."""

import numpy as np


def rectangle(height, width, box, background=60, colour=(220, 40, 90)):
    """A coloured rectangle, XYXY in whole pixels, on grey; (H, W, 3) uint8."""
    image = np.full((height, width, 3), background, np.uint8)
    x1, y1, x2, y2 = (int(side) for side in box)
    image[y1:y2, x1:x2] = colour
    return image


def iou(boxes, box):
    """Of each box with one, in plain arithmetic."""
    values = []
    for x1, y1, x2, y2 in np.asarray(boxes, dtype=float).tolist():
        across = max(min(x2, box[2]) - max(x1, box[0]), 0)
        down = max(min(y2, box[3]) - max(y1, box[1]), 0)
        areas = (x2 - x1) * (y2 - y1) + (box[2] - box[0]) * (box[3] - box[1])
        values.append(across * down / (areas - across * down))
    return np.array(values)
