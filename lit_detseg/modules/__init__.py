"""LightningModules: what `model.class_path` names in a recipe."""

from lit_detseg.modules.base import DetectionModule
from lit_detseg.modules.fcis import FCIS
from lit_detseg.modules.rcnn import RCNN, SPPNet
from lit_detseg.modules.rcnn_box_stage import RegionBoxes
from lit_detseg.modules.rcnn_feature_stage import RegionFeatures
from lit_detseg.modules.rcnn_stages import RegionSVMs
from lit_detseg.modules.two_stage import FasterRCNN, FastRCNN, MaskRCNN, RegionProposals

__all__ = [
    "FCIS",
    "RCNN",
    "DetectionModule",
    "FastRCNN",
    "FasterRCNN",
    "MaskRCNN",
    "RegionBoxes",
    "RegionFeatures",
    "RegionProposals",
    "RegionSVMs",
    "SPPNet",
]
