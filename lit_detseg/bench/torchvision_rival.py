"""Torchvision's Mask R-CNN builder as a `Detector`: trained beside ours, by the same recipe."""

from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from lit_detseg.models.detector import Detector
from lit_detseg.models.mask_stage import MaskSettings
from lit_detseg.models.normalization import TORCHVISION
from lit_detseg.models.proposals import AnchorSettings, ProposalSettings
from lit_detseg.models.roi_stage import DetectionSettings, RoISettings
from lit_detseg.ops.masks import rasterise
from lit_detseg.structures import BoxTarget, Detections, Images

LOSSES = {
    "rpn_objectness": "loss_objectness",
    "rpn_box": "loss_rpn_box_reg",
    "classification": "loss_classifier",
    "box_regression": "loss_box_reg",
    "mask": "loss_mask",
}


class TorchvisionRival(Detector):
    """What `torchvision.models.detection.MaskRCNN` makes of a ResNet-FPN with group normalisation.

    Trained from scratch, everything learns. It gets our numbers and layers where it has an option
    for them; what it fixes stays as it is (its RoIAlign, its losses, its initial weights, its
    generator of random numbers). It runs in float32 whatever the trainer's precision, since its
    boxes are computed in the type of its layers; under bfloat16 one run had a box AP of 0.550, not
    0.566.

    Args:
        num_classes: without background.
        network: ResNet's name.
        channels: of the pyramid and of the region proposal network.
        anchors: as in `MaskRCNN` of this package; likewise the following.
        num_anchors: drawn per image in training.
        proposals: which boxes the first stage hands to the others.
        rois: how many are drawn, and which.
        detections: which boxes are answered.
        masks: `hidden_channels` and `norm` are read.
        head_width: of the two layers of the box head.
    """

    def __init__(
        self,
        num_classes: int,
        network: str,
        channels: int,
        anchors: AnchorSettings,
        num_anchors: int,
        proposals: ProposalSettings,
        rois: RoISettings,
        detections: DetectionSettings,
        masks: MaskSettings,
        head_width: int,
    ) -> None:
        super().__init__()
        norm = partial(nn.GroupNorm, 32)
        mask_norm = norm if masks.norm == "group" else None
        hidden = masks.hidden_channels
        before, after, before_test, after_test, nms_iou, _ = astuple(proposals)
        mean, std, _ = TORCHVISION
        self.model = MaskRCNN(
            _backbone(network, channels, norm),
            image_mean=[value / 255 for value in mean],
            image_std=[value / 255 for value in std],
            rpn_anchor_generator=AnchorGenerator(
                anchors.sizes, (anchors.aspect_ratios,) * len(anchors.sizes)
            ),
            rpn_pre_nms_top_n_train=before,
            rpn_pre_nms_top_n_test=before_test,
            rpn_post_nms_top_n_train=after,
            rpn_post_nms_top_n_test=after_test,
            rpn_nms_thresh=nms_iou,
            rpn_batch_size_per_image=num_anchors,
            box_batch_size_per_image=rois.num_samples,
            box_positive_fraction=rois.positive_fraction,
            box_score_thresh=detections.min_score,
            box_nms_thresh=detections.nms_iou,
            box_detections_per_img=detections.max_detections,
            box_head=TwoMLPHead(channels * 7**2, head_width),
            box_predictor=FastRCNNPredictor(head_width, num_classes + 1),
            mask_head=MaskRCNNHeads(channels, (hidden,) * 4, 1, norm_layer=mask_norm),
            mask_predictor=MaskRCNNPredictor(hidden, hidden, num_classes + 1),
        )
        self.model.transform.resize = as_it_is

    def compute_losses(self, images: Images, targets: list[BoxTarget]) -> dict[str, Tensor]:
        """Its five losses under our names."""
        self.model.train()
        pixels = self._pixels(images)
        wanted = [self._target(*pair) for pair in zip(targets, pixels, strict=True)]
        with torch.autocast(images.pixels.device.type, enabled=False):
            losses = self.model(pixels, wanted)
        return {ours: losses[theirs] for ours, theirs in LOSSES.items()}

    def detect(self, images: Images) -> list[Detections]:
        """Its boxes, and its pasted masks above 0.5."""
        self.model.eval()
        with torch.autocast(images.pixels.device.type, enabled=False):
            answers = self.model(self._pixels(images))
        return [
            Detections(
                found["boxes"],
                found["labels"] - 1,
                found["scores"],
                masks=found["masks"][:, 0] > 0.5,
            )
            for found in answers
        ]

    def _pixels(self, images: Images) -> list[Tensor]:
        sizes = images.sizes.tolist()
        return [
            pixels[:, :height, :width].float() / 255
            for pixels, (height, width) in zip(images.pixels, sizes, strict=True)
        ]

    def _target(self, target: BoxTarget, pixels: Tensor) -> dict[str, Tensor]:
        height, width = pixels.shape[1:]
        count = len(target.boxes)
        bitmaps = np.zeros((0, height, width), dtype=np.bool_)
        if count and target.masks is not None:
            whole = np.tile(np.array([0.0, 0.0, width, height]), (count, 1))
            bitmaps = rasterise(target.masks, np.arange(count), whole, height, width)
        return {
            "boxes": target.boxes,
            "labels": target.labels + 1,
            "masks": torch.from_numpy(bitmaps).to(pixels.device, torch.uint8),
        }


def as_it_is(image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
    """The image unresized; torchvision's own option leaves images alone in training only."""
    return image, target


def _backbone(network: str, channels: int, norm: Callable[[int], nn.Module]) -> BackboneWithFPN:
    """Everything of a ResNet learns, and so does the pyramid over its four stages."""
    body = get_model(network, weights=None, norm_layer=norm)
    widths = [body.inplanes // 2**halvings for halvings in (3, 2, 1, 0)]
    stages = {f"layer{number + 1}": str(number) for number in range(4)}
    return BackboneWithFPN(body, stages, widths, channels, norm_layer=norm)
