"""The types that travel between the floors.

Those made of tensors are looked up when they are first used: who only wants the label map does not
wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lit_detseg.errors import UserError
from lit_detseg.structures.labels import LabelMap
from lit_detseg.structures.masks import InstanceMasks

if TYPE_CHECKING:
    from lit_detseg.structures.detection import BoxTarget, DetectionBatch, Detections, Images

__all__ = [
    "BoxTarget",
    "DetectionBatch",
    "Detections",
    "Images",
    "InstanceMasks",
    "LabelMap",
    "UserError",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.detection"), name)
