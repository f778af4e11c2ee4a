"""R-CNN's third stage: a linear SVM per class, trained with hard negative mining.

Source: R-CNN (arXiv:1311.2524, section 2.3 and appendix B), rcnn_train.m; SPP-net (arXiv:1406.4729,
section 4.2), spp_train.m. The only file that uses scikit-learn, whose LinearSVC is the authors'
liblinear.
"""

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lit_detseg.assignment.regions import svm_negatives
from lit_detseg.models.heads.linear_svms import NEVER
from lit_detseg.modules.rcnn import RegionModule, SPPNet
from lit_detseg.modules.rcnn_mining import HardNegatives
from lit_detseg.modules.rcnn_pass import ImageRegions, RegionPass, Rows, feature_scale, gather
from lit_detseg.ops.nms import class_nms


@dataclass(frozen=True)
class SVMSettings:
    """How the SVMs are trained. Defaults: R-CNN.

    Args:
        negative_iou: a negative overlaps every object of the class by less.
        negative_nms: of the negatives of one image that overlap by more than this, keep the one
            with the largest margin; None: keep all.
        penalty: C, of the hinge loss of each example.
        positive_weight: C of positives is so many times as large.
        bias_feature: constant feature; its weight, the bias, is regularised like all others.
        hard_margin: a negative with a larger margin is worth keeping (-1 is the SVM's own border).
        easy_margin: one with a smaller margin is let go.
        retrain_after: a class is trained again when more negatives than this have come.
        tolerance: at which liblinear stops; its own default, which the programs use, is 0.1.
        max_iterations: of liblinear; 1000 is its own limit, which it reaches at this tolerance.
    """

    negative_iou: float = 0.3
    negative_nms: float | None = None
    penalty: float = 0.001
    positive_weight: float = 2.0
    bias_feature: float = 10.0
    hard_margin: float = -1.0001
    easy_margin: float = -1.2
    retrain_after: int = 2000
    tolerance: float = 0.0001
    max_iterations: int = 10_000


R_CNN_SVMS = SVMSettings()
# Its program leaves out windows that lie on the same cells instead.
SPP_NET_SVMS = SVMSettings(negative_nms=0.7)


class RegionSVMs(RegionPass):
    """Train the SVMs of a fine-tuned detector.

    Two epochs (`max_epochs: 2`). The first collects the positives, which are the objects' own
    boxes, and the mean norm of features, which are then scaled to a mean norm of 20. The second
    mines: each image adds the negatives inside or near the margin of the class's SVM, all of them
    as long as there is none; a class is trained when it has its first ones, whenever more than 2000
    have come, and at the last image; then it lets go of the easy ones.

    The programs do so image by image: `total_batch_size: 1`. With more, the images of a step are
    mined with the same SVMs, then added; on any number of ranks the same ones in the same order.
    The ranks share the classes whose SVMs are to be trained.

    Logs the regularised hinge loss of all classes (`train/loss`) and of each
    (`train/hinge_<class>`), the negatives that are kept and how often a class was trained.

    Args:
        system: the detector: `RCNN(...)` or `SPPNet(...)` with the arguments of the other stages.
        cache: folder of a `RegionFeatures` run; not given: features are computed, twice those of
            objects and of 200 images.
        svms: how they are trained; not given: as R-CNN's or SPP-net's.
    """

    passes = 2

    def __init__(
        self, system: RegionModule, cache: str | None = None, svms: SVMSettings | None = None
    ) -> None:
        super().__init__(system, cache)
        of_paper = SPP_NET_SVMS if isinstance(system, SPPNet) else R_CNN_SVMS
        self.settings = of_paper if svms is None else svms
        classes, features = self.model.svms.weights.shape
        self.collected = {
            "positives": Rows(torch.zeros(0, features)),  # not scaled
            "labels": Rows(torch.zeros(0, dtype=torch.int64)),
            "norms": Rows(torch.zeros(0)),
        }
        self.negatives = HardNegatives(classes, features)  # scaled
        self.losses = torch.zeros(classes, dtype=torch.float64)
        self.trainings = torch.zeros(classes, dtype=torch.int64)

    def look_at(self, images: list[ImageRegions], is_last_step: bool) -> dict[str, float]:
        """Collect positives, then mine negatives."""
        if self.trainer.current_epoch == 0:
            self.collect([self._positives_of(image) for image in images])
        else:
            if not self.trainings.any() and not len(self.negatives):
                self._begin()
            self._mine(images)
            self._train(self._due(is_last_step))
        of_classes = zip(self.class_names, self.losses.tolist(), strict=True)
        return {
            "loss": self.losses.sum().item(),
            "positives": len(self.collected["positives"]),
            "negatives": len(self.negatives),
            "trainings": self.trainings.sum().item(),
            **{f"hinge_{name}": loss for name, loss in of_classes},
        }

    def pass_state(self) -> dict[str, Any]:
        """With the negatives."""
        own = {"losses": self.losses, "trainings": self.trainings}
        return {**super().pass_state(), **own, "negatives": self.negatives.state_dict()}

    def load_pass_state(self, state: dict[str, Any]) -> None:
        """Undo `pass_state`."""
        super().load_pass_state(state)
        self.losses, self.trainings = state["losses"], state["trainings"]
        self.negatives.load_state_dict(state["negatives"])

    def _positives_of(self, image: ImageRegions) -> dict[str, Tensor]:
        """Features of the objects, and norms of some regions."""
        objects = len(image.objects.labels)
        places = torch.arange(objects, device=image.boxes.device)
        features = image.features(torch.cat([places, image.norm_places()]))
        return {
            "positives": features[:objects],
            "labels": image.objects.labels,
            "norms": features[objects:].norm(dim=1),
        }

    def _begin(self) -> None:
        """Scale features to their mean norm; give classes without objects up."""
        svms = self.model.svms
        svms.scale.fill_(feature_scale(self.collected["norms"].joined))
        svms.weights.zero_()
        svms.bias.copy_(torch.where(self._has_objects, 0.0, NEVER))

    @property
    def _has_objects(self) -> Tensor:
        labels = self.collected["labels"].joined
        return torch.bincount(labels, minlength=self.model.num_classes) > 0

    def _mine(self, images: list[ImageRegions]) -> None:
        """Add the negatives of this step that the SVMs do not clearly reject."""
        nothing = HardNegatives(*self.model.svms.weights.shape).state_dict()
        found = [nothing, *(self._hard_negatives_of(image) for image in images)]
        names = ("features", "keys", "of_class")
        arrays = {name: torch.cat([one[name] for one in found]).numpy() for name in names}
        self.negatives.add(*(torch.from_numpy(array) for array in gather(arrays).values()))

    def _hard_negatives_of(self, image: ImageRegions) -> dict[str, Tensor]:
        svms, settings = self.model.svms, self.settings
        features = image.features()
        margins = svms(features)
        hard = (margins > settings.hard_margin) & self._has_objects.to(margins.device)
        hard &= svm_negatives(
            image.boxes, image.objects, self.model.num_classes, settings.negative_iou
        )
        if settings.negative_nms is not None:
            rows, labels = pairs = hard.nonzero(as_tuple=True)
            kept = class_nms(image.boxes[rows], margins[pairs], labels, settings.negative_nms)
            hard = torch.zeros_like(hard).index_put((rows[kept], labels[kept]), hard.new_tensor(1))
        rows = hard.any(dim=1).nonzero().squeeze(1)
        return {
            "features": (features[rows] * svms.scale).cpu(),
            "keys": _image_key(image.image_id) + rows.cpu(),
            "of_class": hard[rows].cpu(),
        }

    def _due(self, is_last_step: bool) -> list[int]:
        """Classes that are new, have got many negatives, or have their last chance."""
        due = (self.trainings == 0) | (self.negatives.added > self.settings.retrain_after)
        due |= torch.tensor(is_last_step)
        due &= self._has_objects & self.negatives.of_class.any(dim=0)
        return due.nonzero().squeeze(1).tolist()

    def _train(self, labels: list[int]) -> None:
        """Train some classes, each on the rank that has it; let go of their easy negatives."""
        if not labels:
            return
        svms, mine = self.model.svms, self.share_of(labels)
        fitted = [self._fitted(label) for label in mine]
        weights = np.array([one.weights for one in fitted], np.float32)
        new = gather(
            {
                "label": np.array(mine, np.int64),
                "weights": weights.reshape(len(mine), svms.weights.shape[1]),
                "bias": np.array([one.bias for one in fitted], np.float32),
                "loss": np.array([one.loss for one in fitted], np.float64),
            }
        )
        rows = zip(*(torch.from_numpy(array) for array in new.values()), strict=True)
        for label, weight, bias, loss in rows:
            svms.weights[label], svms.bias[label] = weight.to(svms.weights), bias.to(svms.bias)
            self.losses[label] = loss
            self.trainings[label] += 1
            margins = self.negatives.of(int(label)) @ weight + bias
            self.negatives.settle(int(label), margins < self.settings.easy_margin)
        self.negatives.tidy()

    def _fitted(self, label: int) -> "FittedSVM":
        positives, labels = (self.collected[name].joined for name in ("positives", "labels"))
        scaled = positives[labels == label] * self.model.svms.scale.cpu()
        return fit_svm(scaled, self.negatives.of(label), self.settings)


class FittedSVM(NamedTuple):
    """A linear SVM and the value of what it minimises."""

    weights: np.ndarray  # (D,)
    bias: float
    loss: float


def fit_svm(
    positives: Float[Tensor, "positives features"],
    negatives: Float[Tensor, "negatives features"],
    settings: SVMSettings = R_CNN_SVMS,
) -> FittedSVM:
    """The w and b that minimise |w|^2 / 2 + (b / B)^2 / 2 + sum of C max(0, 1 - y (w x + b)).

    B is the constant feature; C is larger for positives.
    """
    from sklearn.svm import LinearSVC

    examples = torch.cat([positives, negatives]).double().numpy()
    signs = np.repeat([1, -1], [len(positives), len(negatives)])
    solver = LinearSVC(
        loss="hinge",
        dual=True,
        C=settings.penalty,
        class_weight={1: settings.positive_weight},
        intercept_scaling=settings.bias_feature,
        tol=settings.tolerance,
        max_iter=settings.max_iterations,
        random_state=0,
    )
    solver.fit(examples, signs)
    weights, bias = solver.coef_[0], float(solver.intercept_[0])
    hinge = np.maximum(0, 1 - signs * (examples @ weights + bias))
    cost = settings.penalty * np.where(signs > 0, settings.positive_weight, 1.0)
    regular = (weights @ weights + (bias / settings.bias_feature) ** 2) / 2
    return FittedSVM(weights, bias, float(regular + cost @ hinge))


def _image_key(image_id: str) -> int:
    """A number for an image, far from those of all others: its regions are counted from there."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], signed=True) >> 1
