"""R-CNN's last stage: box regressors of each class, by ridge regression on pool5.

Source: R-CNN (arXiv:1311.2524, appendix C), bbox_regression/rcnn_train_bbox_regressor.m; SPP-net
(arXiv:1406.4729, section 4.2), bbox_regression/spp_train_bbox_regressor.m.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lit_detseg.assignment.regions import regression_pairs
from lit_detseg.modules.rcnn import RegionModule, SPPNet
from lit_detseg.modules.rcnn_pass import ImageRegions, RegionPass, Rows, feature_scale, gather
from lit_detseg.ops.box_coding import encode_boxes
from lit_detseg.ops.ridge import Whitening, ridge_regression, whiten


@dataclass(frozen=True)
class BoxSettings:
    """How box regressors are fitted. Defaults: R-CNN.

    Args:
        iou: a region learns from the object it overlaps most if it does so by more.
        at_least: or by just this.
        penalty: lambda of ridge regression, on all coefficients, that of the constant feature too.
        whiten: take mean and correlation out of the targets first, as the programs do; the papers
            do not say so.
    """

    iou: float = 0.6
    at_least: bool = False
    penalty: float = 1000.0
    whiten: bool = True


R_CNN_BOXES = BoxSettings()
# Its program has a penalty of 4000.
SPP_NET_BOXES = BoxSettings(iou=0.5, at_least=True)


class RegionBoxes(RegionPass):
    """Fit the box regressors of a fine-tuned detector.

    One epoch (`max_epochs: 1`) collects the regions near an object, their pool5 and how far they
    are off; at the last image each class gets its four regressions, in closed form. Features are
    scaled to a mean norm of 20 and have a constant 1 with them.

    What is collected stays in memory, and in checkpoints, in the precision of the cache: about 40
    regions per VOC image, of 18 kB each for AlexNet's pool5 in float16.

    Logs the pairs so far (`train/pairs`, `train/pairs_<class>`) and, at the last step, half the
    mean squared residual of the (whitened) targets, over classes (`train/loss`) and of each
    (`train/residual_<class>`); 0 before.

    Args:
        system: the detector: `RCNN(...)` or `SPPNet(...)` with the arguments of the other stages.
        cache: folder of a `RegionFeatures` run; not given: features are computed.
        boxes: how they are fitted; not given: R-CNN's or SPP-net's.
    """

    def __init__(
        self, system: RegionModule, cache: str | None = None, boxes: BoxSettings | None = None
    ) -> None:
        super().__init__(system, cache)
        of_paper = SPP_NET_BOXES if isinstance(system, SPPNet) else R_CNN_BOXES
        self.settings = of_paper if boxes is None else boxes
        self.collected = {
            "pooled": Rows(torch.zeros(0, self.model.num_pooled)),
            "labels": Rows(torch.zeros(0, dtype=torch.int64)),
            "offsets": Rows(torch.zeros(0, 4)),
            "norms": Rows(torch.zeros(0)),
        }

    def open_cache(self) -> None:
        """Open the cache, and keep features in its precision."""
        super().open_cache()
        if self.cache is not None and not len(self.collected["labels"]):
            kind = getattr(torch, self.cache.precision)
            self.collected["pooled"] = Rows(torch.zeros(0, self.model.num_pooled, dtype=kind))

    def look_at(self, images: list[ImageRegions], is_last_step: bool) -> dict[str, float]:
        """Collect pairs; fit at the end."""
        classes = self.model.num_classes
        self.collect([self._pairs_of(image) for image in images])
        residuals = self._fit() if is_last_step else torch.zeros(classes)
        pairs = torch.bincount(self.collected["labels"].joined, minlength=classes)
        logged = {"loss": residuals.mean().item(), "pairs": pairs.sum().item()}
        of_classes = zip(self.class_names, pairs.tolist(), residuals.tolist(), strict=True)
        for name, count, residual in of_classes:
            logged[f"pairs_{name}"], logged[f"residual_{name}"] = count, residual
        return logged

    def _pairs_of(self, image: ImageRegions) -> dict[str, Tensor]:
        """Features and offsets of the regions near an object, and norms of some regions."""
        settings, objects = self.settings, image.objects
        places, of_object = regression_pairs(image.boxes, objects, settings.iou, settings.at_least)
        pooled = image.pooled(torch.cat([places, image.norm_places()]))
        return {
            "pooled": pooled[: len(places)],
            "labels": objects.labels[of_object],
            "offsets": encode_boxes(objects.boxes[of_object], image.boxes[places]),
            "norms": pooled[len(places) :].float().norm(dim=1),
        }

    def _fit(self) -> Float[Tensor, " classes"]:
        """Give each class its regressors; half the mean squared residuals."""
        pooled, labels, offsets, norms = (rows.joined for rows in self.collected.values())
        regressors, scale = self.model.box_regressors, feature_scale(norms)
        mine = self.share_of(labels.unique().tolist())
        fitted = [
            fit_boxes(pooled[labels == one].float() * scale, offsets[labels == one], self.settings)
            for one in mine
        ]
        weights = np.array([one.weights for one in fitted], np.float32)
        new = gather(
            {
                "label": np.array(mine, np.int64),
                "weights": weights.reshape(len(mine), 4, pooled.shape[1]),
                "bias": np.array([one.bias for one in fitted], np.float32).reshape(-1, 4),
                "residual": np.array([one.residual for one in fitted], np.float32),
            }
        )
        label, weight, bias, residual = (torch.from_numpy(array) for array in new.values())
        regressors.weights.zero_()[label] = weight.to(regressors.weights)
        regressors.bias.zero_()[label] = bias.to(regressors.bias)
        regressors.scale.fill_(scale)
        return torch.zeros(self.model.num_classes).index_put((label,), residual)


class FittedBoxes(NamedTuple):
    """Four linear functions of scaled features, and how far they miss their (whitened) targets."""

    weights: np.ndarray  # (4, D) float32
    bias: np.ndarray  # (4,) float32
    residual: float


def fit_boxes(
    features: Float[Tensor, "pairs features"],
    offsets: Float[Tensor, "pairs 4"],
    settings: BoxSettings = R_CNN_BOXES,
) -> FittedBoxes:
    """Ridge regression of offsets on scaled features and a constant 1 (appendix C, eq. 5)."""
    features = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    identity = torch.eye(4, dtype=torch.float64)
    unchanged = Whitening(offsets.double(), identity[0] * 0, identity)
    targets, mean, inverse = whiten(offsets) if settings.whiten else unchanged
    coefficients = ridge_regression(features, targets, settings.penalty)
    residual = (features @ coefficients.float() - targets).square().mean().item() / 2
    coefficients = coefficients @ inverse
    coefficients[-1] += mean
    weights, bias = coefficients[:-1].T.float(), coefficients[-1].float()
    return FittedBoxes(weights.numpy(), bias.numpy(), residual)
