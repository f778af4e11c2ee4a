"""What the stages that descend nothing have in common: passes over the training set.

A pass looks at every training image once, as it is, and collects something; at the last image the
stage computes its result and writes it into the detector's buffers. It logs, checkpoints, resumes
and runs on several ranks like any training.
"""

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from lit_detseg.assignment.matching import Objects, objects_to_learn
from lit_detseg.assignment.regions import all_regions
from lit_detseg.assignment.sampling import NORMS, draw_priorities
from lit_detseg.metrics.gathering import gather_arrays, is_distributed
from lit_detseg.models.detector import proposals_of, seeds_of
from lit_detseg.models.region_classifier import RegionClassifier
from lit_detseg.modules.base import DetectionModule
from lit_detseg.modules.rcnn import RegionModule
from lit_detseg.modules.rcnn_feature_cache import FeatureCache
from lit_detseg.structures import BoxTarget, DetectionBatch, Images, UserError

UNCHANGED_WITHIN = 1.5  # pixels, by rounding of the image's size

NORM_IMAGES = NORM_REGIONS = 200
MEAN_NORM = 20.0


class ImageRegions:
    """One image of a pass: its objects, its regions, and features of them.

    Attributes:
        position: of the image in the pass, over all ranks.
        image_id: the shard key.
        objects: what is learned from.
        boxes: (R, 4) all regions, the objects' own boxes first.
    """

    def __init__(
        self, position: int, images: Images, target: BoxTarget, stage: "RegionPass"
    ) -> None:
        self.position, self.image_id = position, target.image_id
        self._images, self._model, self._cache = images, stage.model, stage.cache
        self._precision = stage.trainer.precision_plugin.forward_context
        self.objects: Objects = objects_to_learn(target)
        self.boxes = all_regions(proposals_of(images)[0], self.objects)

    def pooled(self, places: Tensor | None = None) -> Tensor:
        """pool5 (P, num_pooled) of the regions at some places, or of all; read where cached."""
        if self._cache is not None:
            return self._cache.read(self.image_id, self.boxes, places).to(self.boxes.device)
        boxes = self.boxes if places is None else self.boxes[places]
        with self._precision():
            return self._model.region_features(self._images, [boxes])[0]

    def features(self, places: Tensor | None = None) -> Tensor:
        """fc7 (P, num_features) of them, float32."""
        pooled = self.pooled(places).to(self.boxes)
        with self._precision():
            return self._model.layers(pooled).float()

    def norm_places(self) -> Tensor:
        """Regions whose norms are averaged: up to 200, drawn, of each of the first 200 images.

        R-CNN and SPP-net scale features so that this mean is 20 (rcnn_feature_stats.m).
        """
        if self.position >= NORM_IMAGES:
            return torch.zeros(0, dtype=torch.int64, device=self.boxes.device)
        keys = torch.arange(len(self.boxes), device=self.boxes.device)
        return draw_priorities(seeds_of(self._images)[0], NORMS, keys).argsort()[:NORM_REGIONS]


class Rows:
    """Rows of a tensor that come in parts, joined only where they are asked for.

    Args:
        none: no rows, of the right shape and type.
    """

    def __init__(self, none: Tensor) -> None:
        self.none = none[:0]
        self._parts = [none]

    def add(self, part: Tensor) -> None:
        """Rows behind those that are there."""
        self._parts.append(part)

    @property
    def joined(self) -> Tensor:
        """All rows."""
        self._parts = [torch.cat(self._parts)]
        return self._parts[0]

    def __len__(self) -> int:
        return sum(map(len, self._parts))


class RegionPass(DetectionModule):
    """A stage that passes over the training set `passes` times.

    Data that fit: `tail: wrap`, so that no image is left out (what is shown twice is looked at
    once), no sampling, and training transforms that change nothing but the size of an image.
    `trainer.max_epochs` is the number of passes.

    Args:
        system: the detector: `RCNN(...)` or `SPPNet(...)` with the arguments of the other stages.
        cache: folder of a `RegionFeatures` run; not given: features are computed.

    Attributes:
        collected: what was found so far by all ranks, in the order of the images. On the CPU, and
            part of checkpoints, so that a continued run ends with the same bits.
    """

    model: RegionClassifier
    passes = 1
    descends = False  # no parameter learns by its gradient

    def __init__(self, system: RegionModule, cache: str | None = None) -> None:
        super().__init__(system.model, system.metric)
        self.automatic_optimization = False
        self.cache_folder = cache
        self.cache: FeatureCache | None = None
        self.collected: dict[str, Rows] = {}
        self._num_images: int | None = None

    @abstractmethod
    def look_at(self, images: list[ImageRegions], is_last_step: bool) -> dict[str, float]:
        """Learn from this rank's images of a step, maybe none.

        Returns:
            Numbers to log, under the same names at each step.
        """

    def on_fit_start(self) -> None:
        """Refuse a trainer or data that would not show every image as often as it must be seen."""
        super().on_fit_start()
        name = type(self).__name__
        if self.trainer.max_epochs != self.passes:
            raise UserError(
                f"{name} passes over the training set {self.passes} x, but max_epochs = "
                f"{self.trainer.max_epochs}. Set trainer.max_epochs to {self.passes}."
            )
        training_order = getattr(self._data_module, "training_order", None)
        if training_order is not None:
            order = training_order()
            self._num_images = order.num_samples
            if order.dropped > 0 or order.images_per_epoch != order.num_samples:
                raise UserError(
                    f"{name} has to see each training image once, but an epoch leaves some out or "
                    "shows some more often. Set `data.tail: wrap`, and no `data.sampling`."
                )
        self.open_cache()

    def open_cache(self) -> None:
        """Open the cache, now that the weights are those of the stage before."""
        if self.cache_folder is not None:
            self.cache = FeatureCache.open(self.cache_folder, self.model)

    # To return nothing is Lightning's word for "there is nothing to descend".
    def training_step(  # type: ignore[override]
        self, batch: DetectionBatch, batch_index: int
    ) -> None:
        """Look at the images of a batch, and take a step that changes nothing.

        Callbacks count optimiser steps to know how far a run is.
        """
        last_pass = self.trainer.current_epoch == self.passes - 1
        is_last_step = last_pass and batch_index == self.trainer.num_training_batches - 1
        self.model.eval()
        # The trainer's precision is for the network alone.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            logged = self.look_at(self._images_of(batch, batch_index), is_last_step)
        self.log_dict({f"train/{name}": float(value) for name, value in logged.items()})
        self._clock.grad = torch.zeros_like(self._clock)
        optimizer: Any = self.optimizers()
        optimizer.step()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """An optimizer of a number that is nobody's."""
        self._clock = torch.zeros((), device=self.device, requires_grad=True)
        return torch.optim.SGD([self._clock], lr=0.0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the state of the pass."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["region_pass"] = {"stage": type(self).__name__, **self.pass_state()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the pass, if the checkpoint is of this stage."""
        super().on_load_checkpoint(checkpoint)
        state = checkpoint.get("region_pass", {})
        if state.get("stage") == type(self).__name__:
            self.load_pass_state(state)

    def pass_state(self) -> dict[str, Any]:
        """What a checkpoint has to hold besides the weights, as tensors."""
        return {name: rows.joined for name, rows in self.collected.items()}

    def load_pass_state(self, state: dict[str, Any]) -> None:
        """Undo `pass_state`."""
        self.collected = {name: Rows(state[name]) for name in self.collected}

    def collect(self, found: list[dict[str, Tensor]]) -> None:
        """Add what this rank has found in each of its images, and what the others have."""
        arrays = {
            name: torch.cat([rows.none, *(one[name].to(rows.none) for one in found)]).numpy()
            for name, rows in self.collected.items()
        }
        for name, new in gather(arrays).items():
            self.collected[name].add(torch.from_numpy(new))

    def share_of(self, classes: list[int]) -> list[int]:
        """Those classes whose results this rank computes."""
        return [label for label in classes if label % self.trainer.world_size == self.global_rank]

    @property
    def class_names(self) -> list[str]:
        """For logging."""
        names = () if self.label_map is None else self.label_map.names
        return list(names) or [str(label) for label in range(self.model.num_classes)]

    def _images_of(self, batch: DetectionBatch, batch_index: int) -> list[ImageRegions]:
        """This rank's images, but for those that fill up the last step of a pass."""
        require_unchanged(batch)
        count, whole = len(batch.targets), batch.images
        first = (batch_index * self.trainer.world_size + self.global_rank) * count
        alone = [
            Images(
                whole.pixels[i : i + 1],
                whole.sizes[i : i + 1],
                proposals_of(whole)[i : i + 1],
                None if whole.seeds is None else whole.seeds[i : i + 1],
            )
            for i in range(count)
        ]
        return [
            ImageRegions(first + i, images, target, self)
            for i, (images, target) in enumerate(zip(alone, batch.targets, strict=True))
            if self._num_images is None or first + i < self._num_images
        ]


def gather(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The named arrays of all ranks, end to end: as if one rank had seen all images of the step."""
    if not is_distributed():
        return arrays
    of_ranks = gather_arrays(arrays)
    return {name: np.concatenate([part[name] for part in of_ranks]) for name in arrays}


def feature_scale(norms: Tensor) -> float:
    """What features are multiplied by to have a mean norm of 20.

    Raises:
        UserError: when there are none, or they are all zero.
    """
    mean = norms.double().mean().item() if len(norms) else 0.0
    if not mean > 0:
        raise UserError(
            "The regions of the first images have no features, or they are all zero: there is "
            "nothing to learn from. Are there proposals, and weights that were trained?"
        )
    return MEAN_NORM / mean


def require_unchanged(batch: DetectionBatch) -> None:
    """Refuse images that are not shown whole and unmirrored: features would not be theirs.

    Raises:
        UserError: naming the image.
    """
    for size, target in zip(batch.images.sizes.tolist(), batch.targets, strict=True):
        if target.placement is None:
            continue
        scale_x, scale_y, *offset = target.placement
        height, width = target.original_size
        gap = max(
            abs(scale_y * height - size[0]), abs(scale_x * width - size[1]), *map(abs, offset)
        )
        if gap > UNCHANGED_WITHIN:
            raise UserError(
                f"Image {target.image_id} was mirrored, cropped or mixed, but this stage looks at "
                "images as they are. Leave only resizes in `data.train_transforms`."
            )
