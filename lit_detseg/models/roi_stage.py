"""The second stage: classify and refine regions (Fast R-CNN, arXiv:1504.08083).

Fast R-CNN runs it on proposals that it is given, Faster R-CNN on those of its own network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lit_detseg.assignment.matching import Objects, objects_to_learn
from lit_detseg.assignment.offset_statistics import OffsetStatistics
from lit_detseg.assignment.roi_sampling import SampledRoIs, draw_rois
from lit_detseg.losses.fast_rcnn import fast_rcnn_losses
from lit_detseg.models.backbones.backbone import Backbone
from lit_detseg.models.detector import seeds_of
from lit_detseg.models.heads.box import BoxHead, build_box_head
from lit_detseg.ops.box_coding import decode_boxes
from lit_detseg.ops.nms import best_of_columns, class_nms, clip_boxes, large_enough
from lit_detseg.ops.pooling import RoIPooling, pool_rois
from lit_detseg.structures import BoxTarget, Detections, Images

MIN_SIDE = 0.01  # pixels; a box clipped to less lies outside the image


@dataclass(frozen=True)
class RoISettings:
    """How regions are pooled, and which are learned from. Defaults: Faster R-CNN.

    Args:
        pooling: see `lit_detseg.ops.pooling.pool_rois`.
        sampling_ratio: likewise.
        output_size: bins along each side of a pooled RoI.
        num_samples: RoIs drawn per image (Fast R-CNN: 64; FPN: 512).
        positive_fraction: at most this share of them on objects.
        foreground_iou: a RoI with at least this IoU is on an object.
        background_iou: [low, high) of the best IoU of a background RoI. Fast R-CNN and the
            paper's own program have low = 0.1, a substitute for hard negative mining;
            py-faster-rcnn, which trains both stages at once as we do, and all that followed have
            0. With 0.1 an image without objects teaches this stage nothing.
        offset_std: target offsets are divided by these, to have unit variance (section 2.3);
            numbers that py-faster-rcnn and all that followed have in place of measured ones.
        measure_offsets: divide by the deviations of each class instead, and subtract their means,
            once somebody has measured them (`RoIStage.normalise_offsets`): Fast R-CNN.
        beta: where smooth L1 turns from a square into a line.
    """

    pooling: RoIPooling = "roi_pool"
    sampling_ratio: int = 2
    output_size: int = 7
    num_samples: int = 128
    positive_fraction: float = 0.25
    foreground_iou: float = 0.5
    background_iou: tuple[float, float] = (0.0, 0.5)
    offset_std: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)
    measure_offsets: bool = False
    beta: float = 1.0


@dataclass(frozen=True)
class DetectionSettings:
    """Which boxes are answered. Defaults: py-faster-rcnn's test.py.

    Args:
        min_score: only probabilities above this.
        nms_iou: within a class, boxes that overlap a better one by more are dropped (0.5 in the
            Detectron baselines, detectron2 and torchvision).
        max_detections: per image, over all classes, after NMS; None for all.
        max_per_class: per image and class, before NMS; None for all.
    """

    min_score: float = 0.05
    nms_iou: float = 0.3
    max_detections: int | None = 100
    max_per_class: int | None = None


PAPER_ROIS, PAPER_DETECTIONS = RoISettings(), DetectionSettings()

# Fast R-CNN (section 2.3): 64 RoIs of each of two images, the background from [0.1, 0.5). Its
# program (lib/fast_rcnn/test.py) has no least score, and keeps 100 boxes of each class before NMS;
# the threshold that it adapts to keep about 40 per image and class over the whole set is not here.
FAST_RCNN_ROIS = RoISettings(num_samples=64, background_iou=(0.1, 0.5), measure_offsets=True)
FAST_RCNN_DETECTIONS = DetectionSettings(min_score=0.0, max_detections=None, max_per_class=100)


class RoIStage(nn.Module):
    """Pool every RoI, classify it and refine its box.

    `RoIStage.over` builds one on a backbone.

    Args:
        head: the layers after pooling.
        strides: pixels per cell of the maps to pool from, finest first.
        rois: how RoIs are pooled and sampled.
        detections: which boxes are answered.
    """

    offset_mean: Float[Tensor, "classes 4"]
    offset_std: Float[Tensor, "classes 4"]

    def __init__(
        self,
        head: BoxHead,
        strides: Sequence[int],
        rois: RoISettings = PAPER_ROIS,
        detections: DetectionSettings = PAPER_DETECTIONS,
    ) -> None:
        super().__init__()
        self.head = head
        self.strides = tuple(strides)
        self.rois, self.detections = rois, detections
        std = torch.tensor(rois.offset_std).repeat(head.class_logits.out_features, 1)
        self.register_buffer("offset_std", std)  # with what was measured, weights travel
        self.register_buffer("offset_mean", torch.zeros_like(std))

    @property
    def knows_offsets(self) -> bool:
        """Whether offsets have been measured, for these weights or for those they came from."""
        return bool(self.offset_mean.any())

    def normalise_offsets(self, statistics: OffsetStatistics) -> None:
        """Let target offsets have zero mean and unit variance in each class.

        Args:
            statistics: of the training set. The background keeps what it has; nothing reads it.
        """
        self.offset_mean[1:] = statistics.mean.to(self.offset_mean)
        self.offset_std[1:] = statistics.std.to(self.offset_std)

    @classmethod
    def over(
        cls,
        backbone: Backbone,
        num_classes: int,
        rois: RoISettings = PAPER_ROIS,
        detections: DetectionSettings = PAPER_DETECTIONS,
        head_width: int = 1024,
    ) -> "RoIStage":
        """The stage behind a backbone's maps, with its pretrained layers where it brings some.

        Args:
            backbone: gives the maps.
            num_classes: without background.
            rois: how RoIs are pooled and sampled.
            detections: which boxes are answered.
            head_width: of the two fully connected layers, where the backbone brings none.

        Raises:
            UserError: when the pooled RoIs do not fit the layers that the backbone brings.
        """
        head = build_box_head(backbone, num_classes, rois.output_size, head_width)
        return cls(head, backbone.strides[: backbone.roi_levels], rois, detections)

    def forward(
        self,
        features: list[Float[Tensor, "images channels _ _"]],
        rois: list[Float[Tensor, "_ 4"]],
    ) -> list[tuple[Float[Tensor, "_ classes"], Float[Tensor, "_ classes 4"]]]:
        """Class logits and box offsets of the RoIs of each image.

        Maps beyond the strides of this stage (the coarsest of a pyramid) are not looked at.
        """
        settings = self.rois
        pooled = pool_rois(
            features[: len(self.strides)],
            rois,
            self.strides,
            settings.output_size,
            settings.pooling,
            settings.sampling_ratio,
        )
        # Boxes and losses are computed in float32, whatever autocast made of the layers.
        logits, offsets = (answer.float() for answer in self.head(pooled))
        counts = [len(boxes) for boxes in rois]
        return list(zip(logits.split(counts), offsets.split(counts), strict=True))

    def draw(
        self,
        proposals: list[Float[Tensor, "_ 4"]],
        images: Images,
        targets: list[BoxTarget],
    ) -> list[SampledRoIs]:
        """The RoIs that each image learns from."""
        seeds = seeds_of(images)
        return [
            self.draw_samples(of_image, objects_to_learn(target), seed)
            for of_image, target, seed in zip(proposals, targets, seeds, strict=True)
        ]

    def draw_samples(
        self,
        proposals: Float[Tensor, "proposals 4"],
        objects: Objects,
        seed: Int[Tensor, ""],
    ) -> SampledRoIs:
        """The RoIs that one image learns from: of its proposals and of its objects themselves."""
        settings = self.rois
        rois = draw_rois(
            proposals,
            objects,
            seed,
            num_samples=settings.num_samples,
            positive_fraction=settings.positive_fraction,
            foreground_iou=settings.foreground_iou,
            background_iou=settings.background_iou,
        )
        mean, std = self.offset_mean[rois.labels], self.offset_std[rois.labels]
        return rois._replace(target_offsets=(rois.target_offsets - mean) / std)

    def compute_losses(
        self,
        features: list[Float[Tensor, "images channels _ _"]],
        samples: list[SampledRoIs],
    ) -> dict[str, Float[Tensor, ""]]:
        """`classification` and `box_regression`, the mean over images of each image's loss."""
        predictions = self(features, [of_image.boxes for of_image in samples])
        losses = [
            fast_rcnn_losses(
                logits, offsets, of_image.labels, of_image.target_offsets, self.rois.beta
            )
            for (logits, offsets), of_image in zip(predictions, samples, strict=True)
        ]
        return {name: torch.stack([loss[name] for loss in losses]).mean() for name in losses[0]}

    def detect(
        self,
        features: list[Float[Tensor, "images channels _ _"]],
        proposals: list[Float[Tensor, "_ 4"]],
        image_sizes: Int[Tensor, "images 2"],
    ) -> list[Detections]:
        """Classify and refine the proposals of each image; threshold, NMS per class, best 100."""
        predictions = self(features, proposals)
        images = zip(predictions, proposals, image_sizes, strict=True)
        return [
            self._detect_in_image(logits, offsets, boxes, size)
            for (logits, offsets), boxes, size in images
        ]

    def _detect_in_image(
        self,
        logits: Float[Tensor, "rois classes"],
        offsets: Float[Tensor, "rois classes 4"],
        rois: Float[Tensor, "rois 4"],
        image_size: Int[Tensor, "2"],
    ) -> Detections:
        """One box for each pair of RoI and class, the background left out."""
        scores = logits.softmax(dim=1)[:, 1:]
        offsets = (offsets * self.offset_std + self.offset_mean)[:, 1:]
        boxes = clip_boxes(decode_boxes(offsets, rois[:, None]), image_size)
        return best_detections(scores, boxes, self.detections)


def best_detections(
    scores: Float[Tensor, "rois classes"],
    boxes: Float[Tensor, "rois classes 4"],
    settings: DetectionSettings,
) -> Detections:
    """Which pairs of RoI and class are answered, given a probability and a clipped box of each."""
    likely = (scores > settings.min_score) & large_enough(boxes, MIN_SIDE)
    if settings.max_per_class is not None:
        likely &= best_of_columns(scores.where(likely, -1.0), settings.max_per_class)
    labels = likely.nonzero()[:, 1]
    boxes, scores = boxes[likely], scores[likely]
    kept = class_nms(boxes, scores, labels, settings.nms_iou)[: settings.max_detections]
    return Detections(boxes[kept], labels[kept], scores[kept])
