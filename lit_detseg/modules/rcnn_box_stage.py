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
from lit_detseg.modules.rcnn_pass import ImageRegions, RegionPass, feature_scale, gather
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

    collected = ("pooled", "labels", "offsets", "norms")

    def __init__(
        self, system: RegionModule, cache: str | None = None, boxes: BoxSettings | None = None
    ) -> None:
        super().__init__(system, cache)
        of_paper = SPP_NET_BOXES if isinstance(system, SPPNet) else R_CNN_BOXES
        self.settings = of_paper if boxes is None else boxes
        self._pooled: list[Tensor] = []  # joined only where they are asked for
        self.labels = torch.zeros(0, dtype=torch.int64)
        self.offsets = torch.zeros(0, 4)
        self.norms = torch.zeros(0)

    def look_at(self, images: list[ImageRegions], is_last_step: bool) -> dict[str, float]:
        """Collect pairs; fit at the end."""
        self._collect(images)
        residuals = self._fit() if is_last_step else torch.zeros(self.model.num_classes)
        pairs = torch.bincount(self.labels, minlength=self.model.num_classes)
        of_classes = zip(self.class_names, pairs.tolist(), residuals.tolist(), strict=True)
        logged = {"loss": residuals.mean().item(), "pairs": len(self.labels)}
        for name, count, residual in of_classes:
            logged[f"pairs_{name}"], logged[f"residual_{name}"] = count, residual
        return logged

    @property
    def pooled(self) -> Float[Tensor, "pairs pooled"]:
        """pool5 of all pairs."""
        self._pooled = [torch.cat([self._no_pooled, *self._pooled])]
        return self._pooled[0]

    @pooled.setter
    def pooled(self, value: Tensor) -> None:
        self._pooled = [value]

    @property
    def _no_pooled(self) -> Tensor:
        kind = torch.float32 if self.cache is None else getattr(torch, self.cache.precision)
        return torch.zeros(0, self.model.num_pooled, dtype=kind)

    def _collect(self, images: list[ImageRegions]) -> None:
        """Features and offsets of the regions near an object, and norms of some regions."""
        found: dict[str, list[Tensor]] = {
            "pooled": [self._no_pooled],
            "labels": [self.labels[:0]],
            "offsets": [self.offsets[:0]],
            "norms": [self.norms[:0]],
        }
        for image in images:
            pairs = regression_pairs(
                image.boxes, image.objects, self.settings.iou, self.settings.at_least
            )
            pooled = image.pooled(torch.cat([pairs.places, image.norm_places()])).to(
                self._no_pooled
            )
            objects, regions = image.objects.boxes[pairs.objects], image.boxes[pairs.places]
            found["pooled"].append(pooled[: len(regions)])
            found["labels"].append(image.objects.labels[pairs.objects].cpu())
            found["offsets"].append(encode_boxes(objects, regions).cpu())
            found["norms"].append(pooled[len(regions) :].float().norm(dim=1))
        new = gather({name: torch.cat(parts).numpy() for name, parts in found.items()})
        self._pooled.append(torch.from_numpy(new["pooled"]))
        for name in ("labels", "offsets", "norms"):
            setattr(self, name, torch.cat([getattr(self, name), torch.from_numpy(new[name])]))

    def _fit(self) -> Float[Tensor, " classes"]:
        """Give each class its regressors; half the mean squared residuals."""
        pooled, scale = self.pooled, feature_scale(self.norms)
        mine = self.share_of(self.labels.unique().tolist())
        fitted = [
            fit_boxes(
                pooled[self.labels == one].float() * scale,
                self.offsets[self.labels == one],
                self.settings,
            )
            for one in mine
        ]
        shape = (-1, 4, self.model.num_pooled)
        new = gather(
            {
                "label": np.array(mine, np.int64),
                "weights": np.array([one.weights for one in fitted], np.float32).reshape(shape),
                "bias": np.array([one.bias for one in fitted], np.float32).reshape(-1, 4),
                "residual": np.array([one.residual for one in fitted], np.float32),
            }
        )
        regressors, residuals = self.model.box_regressors, torch.zeros(self.model.num_classes)
        labels = torch.from_numpy(new["label"])
        regressors.weights.zero_()
        regressors.bias.zero_()
        regressors.weights[labels] = torch.from_numpy(new["weights"]).to(regressors.weights)
        regressors.bias[labels] = torch.from_numpy(new["bias"]).to(regressors.bias)
        regressors.scale.fill_(scale)
        residuals[labels] = torch.from_numpy(new["residual"])
        return residuals


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
