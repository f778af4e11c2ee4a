"""Train and evaluate any `Detector`."""

from dataclasses import asdict
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torchmetrics import Metric

from lit_detseg.metrics.coco_ap import CocoAveragePrecision
from lit_detseg.metrics.torchmetrics_map import as_detection_metric
from lit_detseg.models.detector import Detector
from lit_detseg.modules.learning_rate import ScaledSchedule, learning_rate_rule
from lit_detseg.modules.original_size import to_original_size
from lit_detseg.modules.parameter_groups import GroupSettings, ParameterGroups, parameter_groups
from lit_detseg.ops.pasting import Pasting
from lit_detseg.structures import DetectionBatch, Detections, LabelMap, UserError

# splitmix64's increment: spreads consecutive numbers over the 64-bit seeds.
SEED_STRIDE = 0x9E3779B97F4A7C15


class DetectionModule(LightningModule):
    """Sum the losses to train, feed the metric to validate.

    Args:
        model: the architecture. Everything specific to a paper is in there.
        metric: what the paper reports, for example COCO or VOC average precision; COCO's of boxes
            when not given.
        optimizer: given the parameters, returns the optimizer.
        lr_scheduler: given the optimizer, returns the schedule; stepped after every optimiser step.
        reference_batch_size: images per optimiser step that the learning rate is stated for; with
            another total batch it is scaled linearly. None: never scaled.
        warmup_steps: optimiser steps of linear warm-up; None for none at the reference batch size
            and 500 at any other.
        bias_lr_factor: biases learn at so many times the rate of weights; 2 in Caffe's models.
        bias_weight_decay: whether biases decay.
        lr_factors: further factors by name of a part of the model, such as
            `{roi_stage.head.class_logits: 10}`; see `GroupSettings`.
        pasting: how masks in cells of boxes become pixels, in evaluation and pictures; not given:
            as in detectron2.

    Attributes:
        label_map: the classes, taken from the data module; travels in the checkpoint.
        found: what the latest step of an evaluation found, in pixels of the original images.
    """

    def __init__(
        self,
        model: Detector,
        metric: Metric | None = None,
        optimizer: OptimizerCallable = torch.optim.SGD,
        lr_scheduler: LRSchedulerCallable = torch.optim.lr_scheduler.ConstantLR,
        reference_batch_size: int | None = None,
        warmup_steps: int | None = None,
        bias_lr_factor: float = 1.0,
        bias_weight_decay: bool = True,
        lr_factors: dict[str, float] | None = None,
        pasting: Pasting | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.metric = as_detection_metric(CocoAveragePrecision() if metric is None else metric)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.reference_batch_size = reference_batch_size
        self.warmup_steps = warmup_steps
        self.group_settings = GroupSettings(bias_lr_factor, bias_weight_decay, lr_factors)
        self.pasting = pasting or Pasting()
        self.label_map: LabelMap | None = None
        self.found: list[Detections] = []
        self.learning_rate_note = ""

    def setup(self, stage: str) -> None:
        """Take the label map from the data, and check it against the checkpoint's if we had one."""
        of_data = getattr(self._data_module, "label_map", None)
        if of_data is not None:
            self._take_label_map(of_data)

    def training_step(self, batch: DetectionBatch, batch_index: int) -> Tensor:
        """Log every named loss and return their sum."""
        losses = self.compute_losses(batch)
        total = torch.stack(list(losses.values())).sum()
        images = len(batch.targets)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, batch_size=images)
        self.log("train/loss", total, batch_size=images)
        return total

    def compute_losses(self, batch: DetectionBatch) -> dict[str, Tensor]:
        """Named scalars whose sum is minimised."""
        return self.model(batch.images, batch.targets)

    def validation_step(self, batch: DetectionBatch, batch_index: int) -> Any:
        """Compare detections with ground truth, in original pixels, keyed by image id.

        Returns:
            `list[Detections]` in pixels of the resized image, for callbacks that draw them.
        """
        self.found = []
        if not batch.targets:  # the last batch of an evaluation may leave a rank without images
            return []
        detections = self.model(batch.images)
        if not self.trainer.sanity_checking:
            self.found = self._in_original_pixels(detections, batch)
            self.metric.update(self.found, batch.targets)
        return detections

    def on_validation_epoch_end(self) -> None:
        """Log the metric's results as `val/<name>`."""
        self.found = []
        if not self.trainer.sanity_checking:
            self._log_scores("val")

    def test_step(self, batch: DetectionBatch, batch_index: int) -> Any:
        """As in validation."""
        return self.validation_step(batch, batch_index)

    def on_test_epoch_end(self) -> None:
        """Log the metric's results as `test/<name>`."""
        self.found = []
        self._log_scores("test")

    def predict_step(self, batch: DetectionBatch, batch_index: int) -> list[Detections]:
        """Detections in pixels of the original images."""
        self.found = []
        if batch.targets:
            self.found = self._in_original_pixels(self.model(batch.images), batch)
        return self.found

    def on_train_batch_start(self, batch: DetectionBatch, batch_index: int) -> None:
        """Derive dropout's random numbers from (seed, step, rank): a resume repeats them."""
        step = self.trainer.fit_loop.epoch_loop.batch_progress.total.ready
        seed = getattr(self._data_module, "seed", 0)
        stream = (seed * SEED_STRIDE + step * self.trainer.world_size + self.global_rank) % 2**63
        torch.manual_seed(stream)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build what the config describes, scaled to the total batch of this run."""
        rule = learning_rate_rule(
            getattr(self._data_module, "total_batch_size", None),
            self.reference_batch_size,
            self.warmup_steps,
        )
        self.learning_rate_note = rule.sentence
        groups = self._parameter_groups()
        for sentence in filter(None, (rule.sentence, groups.sentence)):
            rank_zero_info(sentence)
        optimizer = self.optimizer(groups.parameters)
        schedule: Any = ScaledSchedule(self.lr_scheduler(optimizer), rule, groups.factors)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the classes and what was done to the learning rate travel with the weights."""
        extra = checkpoint.setdefault("lit_detseg", {})
        extra["label_map"] = None if self.label_map is None else self.label_map.to_json()
        extra["learning_rate_note"] = self.learning_rate_note
        extra["parameter_groups"] = asdict(self.group_settings)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse what does not go together before torch complains about shapes and groups."""
        extra = checkpoint.get("lit_detseg", {})
        if extra.get("label_map") is not None:
            self._take_label_map(LabelMap.from_json(extra["label_map"]))
        if self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING:
            self.group_settings.require_same(extra.get("parameter_groups"))

    def _parameter_groups(self) -> ParameterGroups:
        of_model = {id(parameter) for parameter in self.model.parameters()}
        others = (p for p in self.parameters() if p.requires_grad and id(p) not in of_model)
        return parameter_groups(self.model, self.group_settings, others)

    def _take_label_map(self, label_map: LabelMap) -> None:
        """Settle the classes; those of data and of weights must agree, whichever come first."""
        if self.label_map is not None and (gap := label_map.difference(self.label_map)):
            raise UserError(
                f"The weights were trained for other classes than the shards hold: {gap}. "
                "Give the shards that belong to the checkpoint, or train from the start."
            )
        self.label_map = label_map
        self.metric.class_names = label_map.names

    @property
    def _data_module(self) -> Any:
        trainer = self._trainer
        return None if trainer is None else getattr(trainer, "datamodule", None)

    def _in_original_pixels(
        self, detections: list[Detections], batch: DetectionBatch
    ) -> list[Detections]:
        return to_original_size(detections, batch.images, batch.targets, self.pasting)

    def _log_scores(self, prefix: str) -> None:
        # The metric has already agreed over the ranks: every rank logs the same numbers.
        scores = {name: value for name, value in self.metric.compute().items() if value.ndim == 0}
        self._check_image_count(prefix)
        # A score that is not defined (NaN: a class without an object) has no point on a curve.
        defined = {name: value for name, value in scores.items() if not value.isnan()}
        self.log_dict({f"{prefix}/{name}": value.float() for name, value in defined.items()})
        self.metric.reset()

    def _check_image_count(self, prefix: str) -> None:
        count_images = getattr(self._data_module, "num_images", None)
        expected = None if count_images is None else count_images(prefix)
        counted = getattr(self.metric, "num_images", None)
        limit = getattr(self.trainer, f"limit_{prefix}_batches")
        is_whole = isinstance(limit, float) and limit == 1.0  # an int counts batches
        if is_whole and None not in (expected, counted) and expected != counted:
            raise RuntimeError(f"Evaluated {counted} images, but the index holds {expected}.")
