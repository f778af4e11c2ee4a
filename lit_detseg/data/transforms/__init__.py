"""What happens to an image, its boxes and its masks between decoding and the batch."""

from lit_detseg.data.transforms.base import MixingTransform, Sample, Transform, apply, inside_canvas
from lit_detseg.data.transforms.canvas import LargeScaleJitter, Letterbox
from lit_detseg.data.transforms.colour import DarknetColour, PhotometricDistortion
from lit_detseg.data.transforms.copy_paste import CopyPaste
from lit_detseg.data.transforms.crop import RandomCrop
from lit_detseg.data.transforms.geometry import (
    MultiScale,
    RandomHorizontalFlip,
    RandomResize,
    RandomVerticalFlip,
    Resize,
    ResizeLongestSide,
    ResizeShortestSide,
)
from lit_detseg.data.transforms.mosaic import Mosaic
from lit_detseg.data.transforms.torchvision import TorchvisionTransform
from lit_detseg.data.transforms.visible import cut_to_visible

__all__ = [
    "CopyPaste",
    "DarknetColour",
    "LargeScaleJitter",
    "Letterbox",
    "MixingTransform",
    "Mosaic",
    "MultiScale",
    "PhotometricDistortion",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomResize",
    "RandomVerticalFlip",
    "Resize",
    "ResizeLongestSide",
    "ResizeShortestSide",
    "Sample",
    "TorchvisionTransform",
    "Transform",
    "apply",
    "cut_to_visible",
    "inside_canvas",
]
