"""The types that travel between the floors."""

from lit_detseg.errors import UserError
from lit_detseg.structures.detection import BoxTarget, DetectionBatch, Detections, Images
from lit_detseg.structures.labels import LabelMap
from lit_detseg.structures.masks import InstanceMasks

__all__ = [
    "BoxTarget",
    "DetectionBatch",
    "Detections",
    "Images",
    "InstanceMasks",
    "LabelMap",
    "UserError",
]
