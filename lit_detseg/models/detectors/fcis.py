"""FCIS (arXiv:1611.07709): fully convolutional instance-aware semantic segmentation."""

from torch import Tensor

from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.detector import Detector
from lit_detseg.models.fcis_stage import FCISStage
from lit_detseg.models.proposals import RegionProposalNetwork
from lit_detseg.structures import BoxTarget, Detections, Images


class FCISDetector(Detector):
    """Classify and draw regions by the same maps, which say inside or outside (figure 3).

    Mask R-CNN pools features of a region and lets layers judge them. Here all layers see the whole
    image; what a region takes from their maps depends on the part of it that a pixel lies in, and
    no layer comes after.

    Args:
        backbone: gives the map that regions are proposed on (res4).
        rpn: proposes.
        stage: makes position-sensitive maps (res5 and 1x1 convolutions), judges and draws.
    """

    def __init__(self, backbone: Backbone, rpn: RegionProposalNetwork, stage: FCISStage) -> None:
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn
        self.stage = stage

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """`rpn_objectness`, `rpn_box`, `classification`, `mask` and `box_regression`."""
        features = self.backbone(images)
        anchors = self.rpn(features)
        proposals = self.rpn.propose(anchors, images.sizes, training=True)
        rois = self.stage.draw(proposals, images, targets)
        maps = self.stage.head(*features)
        return {
            **self.rpn.compute_losses(anchors, images, targets),
            **self.stage.compute_losses(maps, rois, images, targets),
        }

    def detect(self, images: Images) -> list[Detections]:
        """Propose, judge twice, keep the best, let masks vote."""
        features = self.backbone(images)
        proposals = self.rpn.propose(self.rpn(features), images.sizes, training=False)
        return self.stage.detect(self.stage.head(*features), proposals, images.sizes)
