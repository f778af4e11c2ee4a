"""R-CNN and SPP-net as LightningModules: fine-tuning, and evaluation of what all stages made.

Each is trained in stages, one run after the other, all on the same arguments:

    R-CNN:    RCNN (fine-tuning) -> RegionFeatures -> RegionSVMs -> RegionBoxes
    SPP-net:  RegionFeatures -> SPPNet(cache=...) (fine-tuning) -> RegionSVMs -> RegionBoxes

A stage takes the weights of the one before; the last one's are those of the finished detector,
which any of these classes evaluates.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn

from lit_detseg.assignment.matching import objects_to_learn
from lit_detseg.assignment.regions import (
    R_CNN_REGIONS,
    SPP_NET_REGIONS,
    RegionSampling,
    all_regions,
)
from lit_detseg.models.backbones import Backbone
from lit_detseg.models.backbones.zf import ZF
from lit_detseg.models.detector import proposals_of
from lit_detseg.models.detectors.rcnn import RCNNDetector
from lit_detseg.models.detectors.spp_net import (
    PAPER_LEVELS,
    PAPER_SCALES,
    SPPNetDetector,
    pyramid_layers,
)
from lit_detseg.models.region_classifier import RegionClassifier, Scorer
from lit_detseg.models.region_network import RegionNetwork, build_region_network
from lit_detseg.models.roi_stage import FAST_RCNN_DETECTIONS, DetectionSettings
from lit_detseg.models.weights.files import load_weights, read_weights
from lit_detseg.models.weights.pretrained import FROM_CHECKPOINT, NONE
from lit_detseg.modules.base import DetectionModule
from lit_detseg.modules.rcnn_feature_cache import FeatureCache
from lit_detseg.modules.two_stage_settings import chosen_backbone, known_classes
from lit_detseg.ops.warping import CropMode
from lit_detseg.structures import DetectionBatch, UserError

# Of cell 0, in pixels: see the docstrings of the backbones.
FIRST_MIDDLES = {"zf": 0.5, "caffenet": 0.5, "alexnet": 0.5, "vgg16": 8.0, "squeezenet1_0": 10.5}


class RegionModule(DetectionModule):
    """A detector that judges regions, R-CNN or SPP-net: what the stages are made for."""

    model: RegionClassifier


class RCNN(RegionModule):
    """R-CNN (arXiv:1311.2524): fine-tune a classifier on warped proposals (section 2.3).

    The paper's step has 128 regions, 32 of them on objects: 16 images of 8 regions
    (`total_batch_size: 16`), see `RegionSampling`. Its class layer learns ten times as fast as the
    rest, its biases twice as fast. Evaluation uses SVMs and box regressors once there are any.

    Loss: `classification`.

    Args:
        num_classes: without background; the command line takes it from the shards.
        network: `caffenet` (the paper's "T-Net"), `alexnet` (torchvision's), `vgg16` (its "O-Net";
            24 regions a step), `squeezenet1_0`, or one that is built already.
        weights: of a named network: `none`, a file, or a name that torchvision knows.
        trainable_stages: of a named network, counted from pool5; all, when not given.
        crop_side: pixels; given by the network but for `squeezenet1_0`.
        crop_context: pixels of a crop around its region.
        crop_mode: `warp`, or `square` for regions that are not distorted.
        head_width: of fc6 and fc7 where the network brings none (`squeezenet1_0`).
        max_crops: that go through the network at a time.
        sampling: which regions are drawn from an image.
        detections: which boxes are answered.
        scorer: `svm` or `softmax`; not given: the SVMs as soon as they are fitted.
        box_regression: not given: as soon as the regressors are fitted.
        optimizer: SGD as in section 2.3 when not given.
        training: see `DetectionModule`.

    Raises:
        UserError: when `num_classes` is missing, or settings do not fit the network.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        network: RegionNetwork | str = "caffenet",
        weights: str = "none",
        trainable_stages: int | None = None,
        crop_side: int | None = None,
        crop_context: int = 16,
        crop_mode: CropMode = "warp",
        head_width: int = 1024,
        max_crops: int = 128,
        sampling: RegionSampling = R_CNN_REGIONS,
        detections: DetectionSettings = FAST_RCNN_DETECTIONS,
        scorer: Scorer | None = None,
        box_regression: bool | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(
            parameters, lr=0.001, momentum=0.9, weight_decay=0.0005
        ),
        **training: Any,
    ) -> None:
        if isinstance(network, str):
            network = build_region_network(
                network, weights, trainable_stages, crop_side, crop_context, crop_mode, head_width
            )
        detector = RCNNDetector(
            network,
            known_classes(num_classes),
            max_crops,
            sampling=sampling,
            detections=detections,
            scorer=scorer,
            box_regression=box_regression,
        )
        super().__init__(detector, optimizer=optimizer, **training)


class SPPNet(RegionModule):
    """SPP-net (arXiv:1406.4729): fine-tune fc6 and fc7 on pyramids over conv5 (section 4.2).

    The convolutions never learn, so pooled features may be computed once, by `RegionFeatures`, and
    be read from its cache in every stage. With a cache a window is seen at its best scale only and
    never mirrored: in the program the scale is drawn, and mirrored images are cached as well.

    Loss: `classification`.

    Args:
        num_classes: without background; the command line takes it from the shards.
        backbone: name of a backbone with one map, or one that is built already.
        backbone_weights: of a named backbone: `none`, a file, or a name that torchvision knows.
        layer_weights: a file with `fc6.weight` .. `fc7.bias` of a network that was trained with the
            same pyramid; not given: random numbers.
        scales: lengths of the image's shorter side, which the model itself resizes.
        levels: bins along each side of each grid of the pyramid.
        first_middle: see `SPPNetDetector`; known for `zf`, `caffenet`, `alexnet`, `vgg16` and
            `squeezenet1_0`.
        head_width: of fc6 and fc7.
        cache: folder of a `RegionFeatures` run, to fine-tune on; not given: features are computed
            at each step.
        sampling: which regions are drawn from an image.
        detections: which boxes are answered.
        scorer: as in `RCNN`; likewise `box_regression`.
        box_regression: see there.
        optimizer: SGD as in section 4.2 when not given.
        training: see `DetectionModule`.

    Raises:
        UserError: when `num_classes` is missing, or settings do not fit the backbone.
    """

    def __init__(
        self,
        num_classes: int | None = None,
        backbone: Backbone | str = "zf",
        backbone_weights: str = "none",
        layer_weights: str = "none",
        scales: Sequence[int] = PAPER_SCALES,
        levels: Sequence[int] = PAPER_LEVELS,
        first_middle: float | None = None,
        head_width: int = 4096,
        cache: str | None = None,
        sampling: RegionSampling = SPP_NET_REGIONS,
        detections: DetectionSettings = FAST_RCNN_DETECTIONS,
        scorer: Scorer | None = None,
        box_regression: bool | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.SGD(
            parameters, lr=0.0001, momentum=0.9, weight_decay=0.0005
        ),
        **training: Any,
    ) -> None:
        if first_middle is None:
            first_middle = _first_middle(backbone)
        if backbone == "zf":  # its own fc6, for 6 x 6 bins, is not wanted
            backbone, backbone_weights = ZF(backbone_weights, with_head=False), NONE
        backbone = chosen_backbone(backbone, backbone_weights, None)
        layers = pyramid_layers(backbone.out_channels, levels, head_width)
        _load_layers(layers, layer_weights)
        detector = SPPNetDetector(
            backbone,
            known_classes(num_classes),
            layers,
            head_width,
            scales,
            levels,
            first_middle,
            sampling=sampling,
            detections=detections,
            scorer=scorer,
            box_regression=box_regression,
        )
        super().__init__(detector, optimizer=optimizer, **training)
        self.cache_folder = cache
        self._cache: FeatureCache | None = None

    def on_fit_start(self) -> None:
        """Open the cache, now that the weights are those of the stage before."""
        super().on_fit_start()
        if self.cache_folder is not None:
            self._cache = FeatureCache.open(self.cache_folder, self.model)

    def compute_losses(self, batch: DetectionBatch) -> dict[str, Tensor]:
        """The model's own, or those of cached features."""
        if self._cache is None:
            return super().compute_losses(batch)
        drawn = self.model.draw(batch.images, batch.targets)
        proposals = proposals_of(batch.images)
        pooled = [
            self._cache.read(
                target.image_id, all_regions(boxes, objects_to_learn(target)), of_image.places
            ).to(boxes)
            for target, boxes, of_image in zip(batch.targets, proposals, drawn, strict=True)
        ]
        return self.model.classification_loss(pooled, [of_image.labels for of_image in drawn])


def _first_middle(backbone: Backbone | str) -> float:
    name = backbone if isinstance(backbone, str) else type(backbone).__name__
    if name in FIRST_MIDDLES:
        return FIRST_MIDDLES[name]
    raise UserError(
        f"It is not known where the cells of {name} look. Give first_middle, the middle in pixels "
        "of what its first cell sees: half the stride, where cells look at themselves."
    )


def _load_layers(layers: nn.Module, weights: str) -> None:
    if weights in (NONE, FROM_CHECKPOINT):
        return
    stored = read_weights(Path(weights).expanduser())
    of_layers = {name: stored[name] for name in stored if name.startswith(("fc6.", "fc7."))}
    load_weights(layers, of_layers, weights)
