"""What happens to an image, its boxes and its masks between decoding and the batch."""

from lit_detseg.data.transforms.base import MixingTransform, Sample, Transform, apply, inside_canvas
from lit_detseg.data.transforms.geometry import RandomHorizontalFlip, Resize, ResizeShortestSide
from lit_detseg.data.transforms.torchvision import TorchvisionTransform

__all__ = [
    "MixingTransform",
    "RandomHorizontalFlip",
    "Resize",
    "ResizeShortestSide",
    "Sample",
    "TorchvisionTransform",
    "Transform",
    "apply",
    "inside_canvas",
]
