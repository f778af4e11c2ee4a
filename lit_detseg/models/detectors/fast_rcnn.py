"""Fast R-CNN (arXiv:1504.08083): one network that judges regions proposed by something else."""

from torch import Tensor

from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.detector import Detector, proposals_of
from lit_detseg.models.roi_stage import RoIStage
from lit_detseg.structures import BoxTarget, Detections, Images


class FastRCNNDetector(Detector):
    """Convolve the image once, pool every proposal, classify it and refine its box (section 2).

    Against R-CNN the whole network learns at once, by one loss with two terms; nothing is cached.
    Images must bring proposals.

    Args:
        backbone: gives feature maps.
        roi_stage: pools, classifies and refines the proposals.
    """

    def __init__(self, backbone: Backbone, roi_stage: RoIStage) -> None:
        super().__init__()
        self.backbone = backbone
        self.roi_stage = roi_stage

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """`classification` and `box_regression` (section 2.3)."""
        features = self.backbone(images)
        rois = self.roi_stage.draw(proposals_of(images), images, targets)
        return self.roi_stage.compute_losses(features, rois)

    def detect(self, images: Images) -> list[Detections]:
        """Judge every proposal (section 3)."""
        return self.roi_stage.detect(self.backbone(images), proposals_of(images), images.sizes)
