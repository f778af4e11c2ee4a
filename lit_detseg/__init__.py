"""Distributed training of detection and segmentation models on PyTorch Lightning."""

__version__ = "0.1.0"
