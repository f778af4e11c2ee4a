"""Faster R-CNN (arXiv:1506.01497): a network that proposes regions, and one that judges them."""

from jaxtyping import Int
from torch import Tensor

from lit_detseg.assignment.matching import objects_to_learn
from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.detector import Detector
from lit_detseg.models.heads.box import BoxHead, fully_connected
from lit_detseg.models.proposals import (
    PAPER_ANCHORS,
    PAPER_LEARNING,
    PAPER_PROPOSALS,
    AnchorLearning,
    AnchorSettings,
    ProposalSettings,
    RegionProposalNetwork,
)
from lit_detseg.models.roi_stage import (
    PAPER_DETECTIONS,
    PAPER_ROIS,
    DetectionSettings,
    RoISettings,
    RoIStage,
)
from lit_detseg.structures import BoxTarget, Detections, Images, UserError

PRETRAINED_BINS = 7  # along each side of the map that VGG-16's fc6 takes


class FasterRCNNDetector(Detector):
    """Faster R-CNN, trained end to end (approximate joint training, section 3.2).

    The defaults are the paper's for VGG-16, one feature map of stride 16. With a feature pyramid
    (arXiv:1612.03144) give one anchor size per map, and RoIAlign.

    Which anchors and RoIs are drawn depends on `Images.seeds` alone; where they are missing, the
    seed is 0.

    Torchvision's FasterRCNN gives the same losses and the same detections when both get the same
    weights, and these settings are chosen here: anchors rounded and centred as torchvision's,
    `ignore_crossing=False`, `balance="released_code"`, `min_side=1e-3`, `roi_align_legacy`,
    `beta=1/9`, `nms_iou=0.5`. What remains different:

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
        backbone: gives feature maps, and may bring pretrained layers for the box head.
        num_classes: without background.
        anchors: where the anchors are.
        anchor_learning: which anchors are learned from, and how.
        proposals: which boxes the first stage hands to the second.
        rois: how those are pooled, and which are learned from.
        detections: which boxes are answered.
        rpn_channels: width of the region proposal network: 512 for VGG-16, 256 for ZF and FPN.
        head_width: width of the two fully connected layers of the box head, where the backbone
            brings none.

    Raises:
        UserError: when the anchor sizes do not fit the backbone's maps, or the pooled RoIs the
            layers that it brings.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        anchors: AnchorSettings = PAPER_ANCHORS,
        anchor_learning: AnchorLearning = PAPER_LEARNING,
        proposals: ProposalSettings = PAPER_PROPOSALS,
        rois: RoISettings = PAPER_ROIS,
        detections: DetectionSettings = PAPER_DETECTIONS,
        rpn_channels: int = 512,
        head_width: int = 1024,
    ) -> None:
        super().__init__()
        strides, channels = backbone.strides, backbone.out_channels
        self.backbone = backbone
        self.rpn = RegionProposalNetwork(
            channels, strides, rpn_channels, anchors, anchor_learning, proposals
        )
        roi_strides = strides[: backbone.roi_levels]
        head = build_box_head(backbone, num_classes, rois.output_size, head_width)
        self.roi_stage = RoIStage(head, roi_strides, rois, detections)

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """`rpn_objectness`, `rpn_box`, `classification` and `box_regression`."""
        objects = [objects_to_learn(target) for target in targets]
        seeds = seeds_of(images)
        features = self.backbone(images)
        predictions = self.rpn(features)
        rpn_losses = self.rpn.compute_losses(predictions, objects, images.sizes, seeds)
        proposals = self.rpn.propose(predictions, images.sizes, training=True)
        samples = [
            self.roi_stage.draw_samples(*image)
            for image in zip(proposals, objects, seeds, strict=True)
        ]
        return {**rpn_losses, **self.roi_stage.compute_losses(features, samples)}

    def detect(self, images: Images) -> list[Detections]:
        """Propose, judge, keep the best."""
        features = self.backbone(images)
        proposals = self.rpn.propose(self.rpn(features), images.sizes, training=False)
        return self.roi_stage.detect(features, proposals, images.sizes)


def build_box_head(backbone: Backbone, num_classes: int, output_size: int, width: int) -> BoxHead:
    """A head of the backbone's own pretrained layers, or of two new ones.

    The layers move from the backbone to the head, so that the state dict holds them once.

    Raises:
        UserError: when the backbone's layers were made for another number of bins.
    """
    layers, num_features = backbone.head_layers, backbone.head_features
    if layers is None or num_features is None:
        layers = fully_connected(backbone.out_channels * output_size**2, width)
        return BoxHead(num_classes, layers, width)
    if output_size != PRETRAINED_BINS:
        raise UserError(
            f"RoIs are pooled to {output_size} x {output_size} bins, but the backbone brings "
            f"layers for {PRETRAINED_BINS} x {PRETRAINED_BINS}. Set output_size to "
            f"{PRETRAINED_BINS}, or use a backbone without head layers."
        )
    backbone.head_layers = None
    return BoxHead(num_classes, layers, num_features)


def seeds_of(images: Images) -> Int[Tensor, " images"]:
    """The seed of each image; 0 where the data give none."""
    return images.sizes.new_zeros(len(images.sizes)) if images.seeds is None else images.seeds
