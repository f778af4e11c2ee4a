"""Mask R-CNN (arXiv:1703.06870): Faster R-CNN, and a mask for each of its boxes."""

from torch import Tensor

from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.detector import Detector
from lit_detseg.models.mask_stage import MaskStage
from lit_detseg.models.proposals import RegionProposalNetwork
from lit_detseg.models.roi_stage import RoIStage
from lit_detseg.structures import BoxTarget, Detections, Images


class MaskRCNNDetector(Detector):
    """Propose regions; judge each, refine its box and draw its mask (section 3).

    In training the three branches look at the same sampled RoIs, the mask branch at those on
    objects. In use the mask branch comes last and looks at the final boxes: it need not ask of
    which class they are, nor draw more than 100.

    Torchvision's MaskRCNN differs as its FasterRCNN does; see `FasterRCNNDetector`.

    Args:
        backbone: gives the feature maps that all share.
        rpn: proposes.
        roi_stage: judges; what it does first with a pooled region (res5 of a C4 network), the mask
            branch shares.
        mask_stage: draws.
    """

    def __init__(
        self,
        backbone: Backbone,
        rpn: RegionProposalNetwork,
        roi_stage: RoIStage,
        mask_stage: MaskStage,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn
        self.roi_stage = roi_stage
        self.mask_stage = mask_stage

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """`rpn_objectness`, `rpn_box`, `classification`, `box_regression` and `mask`."""
        features = self.backbone(images)
        anchors = self.rpn(features)
        proposals = self.rpn.propose(anchors, images.sizes, training=True)
        rois = self.roi_stage.draw(proposals, images, targets)
        trunk = self.roi_stage.head.trunk
        return {
            **self.rpn.compute_losses(anchors, images, targets),
            **self.roi_stage.compute_losses(features, rois),
            **self.mask_stage.compute_losses(features, rois, images, targets, trunk),
        }

    def detect(self, images: Images) -> list[Detections]:
        """Propose, judge, keep the best, draw them."""
        features = self.backbone(images)
        proposals = self.rpn.propose(self.rpn(features), images.sizes, training=False)
        detections = self.roi_stage.detect(features, proposals, images.sizes)
        return self.mask_stage.detect(features, detections, self.roi_stage.head.trunk)
