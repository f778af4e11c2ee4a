"""The region proposal network of Faster R-CNN by itself (arXiv:1506.01497, section 3.1).

Steps 1 and 3 of the paper's four-step alternating training (section 3.2) train this detector; what
it answers is what steps 2 and 4 train Fast R-CNN on.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.detector import Detector
from lit_detseg.models.proposals import RegionProposalNetwork
from lit_detseg.models.roi_stage import MIN_SIDE
from lit_detseg.ops.nms import large_enough
from lit_detseg.structures import BoxTarget, Detections, Images


class RegionProposalDetector(Detector):
    """Propose regions that may hold an object, of whatever class.

    Its parts bear the names that they have in `FasterRCNNDetector`.

    Args:
        backbone: gives feature maps.
        rpn: proposes.
    """

    def __init__(self, backbone: Backbone, rpn: RegionProposalNetwork) -> None:
        super().__init__()
        self.backbone = backbone
        self.rpn = rpn

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """`rpn_objectness` and `rpn_box` (eq. 1)."""
        return self.rpn.compute_losses(self.rpn(self.backbone(images)), images, targets)

    def detect(self, images: Images) -> list[Detections]:
        """The proposals: every label is 0, the score is the probability of an object."""
        predictions = self.rpn(self.backbone(images))
        proposals = self.rpn.propose_scored(predictions, images.sizes, training=False)
        return [_as_detections(boxes, logits) for boxes, logits in proposals]


def _as_detections(
    boxes: Float[Tensor, "proposals 4"], logits: Float[Tensor, " proposals"]
) -> Detections:
    """Without what lies outside the image, where `proposals.min_side` lets it through."""
    inside = large_enough(boxes, MIN_SIDE)
    scores = logits[inside].sigmoid()
    return Detections(boxes[inside], torch.zeros_like(scores, dtype=torch.int64), scores)
