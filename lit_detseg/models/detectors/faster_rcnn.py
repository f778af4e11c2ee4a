"""Faster R-CNN (arXiv:1506.01497): a network that proposes regions, and one that judges them."""

from torch import Tensor

from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.detector import Detector
from lit_detseg.models.proposals import RegionProposalNetwork
from lit_detseg.models.roi_stage import RoIStage
from lit_detseg.structures import BoxTarget, Detections, Images


class FasterRCNNDetector(Detector):
    """Fast R-CNN on the proposals of a network that shares its maps (section 3.2).

    Trained end to end: approximate joint training, in which proposals are constants.

    Torchvision's FasterRCNN gives the same losses and the same detections when both get the same
    weights and settings (`lit_detseg.models.weights.torchvision_detectors`). What remains
    different:

    - losses are averaged over the anchors (RoIs) of an image, then over images; there over those
      of all images of the rank at once, so that an image with few samples counts less;
    - the samples are drawn by hashing the image's seed; there by a global generator;
    - small proposals are dropped before the best are chosen, as in py-faster-rcnn; there after;
    - anchors centred on the padding of an image take no part in training; there they are
      background;
    - an object that no anchor touches has no best anchor; there all of them are its best;
    - crowds and difficult objects are left out of the targets; there the caller has to do it;
    - an image may have no objects and a batch no proposals; labels do not count the background;
      images are resized by the data pipeline, and normalised by the backbone.

    Args:
        backbone: gives the feature maps that both stages share.
        rpn: the first stage, proposes.
        roi_stage: the second stage, judges.
    """

    def __init__(self, backbone: Backbone, rpn: RegionProposalNetwork, roi_stage: RoIStage) -> None:
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn
        self.roi_stage = roi_stage

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """`rpn_objectness`, `rpn_box`, `classification` and `box_regression`."""
        features = self.backbone(images)
        anchors = self.rpn(features)
        proposals = self.rpn.propose(anchors, images.sizes, training=True)
        rois = self.roi_stage.draw(proposals, images, targets)
        return {
            **self.rpn.compute_losses(anchors, images, targets),
            **self.roi_stage.compute_losses(features, rois),
        }

    def detect(self, images: Images) -> list[Detections]:
        """Propose, judge, keep the best."""
        features = self.backbone(images)
        proposals = self.rpn.propose(self.rpn(features), images.sizes, training=False)
        return self.roi_stage.detect(features, proposals, images.sizes)
