"""LightningModules: what `model.class_path` names in a recipe."""

from lit_detseg.modules.base import DetectionModule
from lit_detseg.modules.two_stage import FasterRCNN, FastRCNN, MaskRCNN, RegionProposals

__all__ = ["DetectionModule", "FastRCNN", "FasterRCNN", "MaskRCNN", "RegionProposals"]
