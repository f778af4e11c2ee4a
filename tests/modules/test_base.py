"""DetectionModule around a user's detector: what is logged, counted, refused, stored."""

import pytest
import torch
from lightning import Trainer
from torch.optim.lr_scheduler import StepLR
from torchmetrics.detection import MeanAveragePrecision

from lit_detseg.data import ShapesDataModule
from lit_detseg.data.packing.pack import pack
from lit_detseg.data.readers.shapes import ShapesReader
from lit_detseg.errors import UserError
from lit_detseg.metrics.coco_ap import CocoAveragePrecision
from lit_detseg.modules import DetectionModule
from lit_detseg.structures import LabelMap
from tests.toy_detector import ToyDetector


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "set"
    pack(ShapesReader(images=10, seed=0, size=64), folder)
    return str(folder)


def make_data(shards, **options):
    options = {"total_batch_size": 4, "num_workers": 0, **options}
    return ShapesDataModule(train=shards, val=shards, test=shards, **options)


def make_module(metric=None, num_classes=3, **options):
    torch.manual_seed(0)
    metric = CocoAveragePrecision() if metric is None else metric
    return DetectionModule(ToyDetector(num_classes), metric, **options)


def make_trainer(**options):
    options = {"max_steps": 2, "limit_val_batches": 1.0, **options}
    return Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def test_every_loss_and_their_sum_are_logged(shards):
    trainer = make_trainer()
    trainer.fit(make_module(), make_data(shards))
    logged = {name: value for name, value in trainer.callback_metrics.items() if "train/" in name}
    assert set(logged) == {"train/classification", "train/box_regression", "train/loss"}
    parts = logged["train/classification"] + logged["train/box_regression"]
    assert logged["train/loss"] == pytest.approx(float(parts), rel=1e-6)


def test_scores_are_logged_under_the_classes_names(shards):
    trainer = make_trainer()
    scores = trainer.validate(make_module(), make_data(shards), verbose=False)[0]
    assert {"val/map", "val/map_50", "val/mar_100", "val/map_circle"} <= scores.keys()
    assert all(0 <= value <= 1 for value in scores.values())


def test_torchmetrics_own_metric_logs_the_same_numbers_under_the_same_names(shards):
    module = make_module()
    ours = make_trainer().validate(module, make_data(shards), verbose=False)[0]
    recall_points = torch.linspace(0, 1, 101, dtype=torch.float64).tolist()
    metric = MeanAveragePrecision(class_metrics=True, rec_thresholds=recall_points)
    theirs_module = DetectionModule(module.model, metric)
    theirs = make_trainer().validate(theirs_module, make_data(shards), verbose=False)[0]
    assert theirs.keys() == ours.keys()
    assert theirs == pytest.approx(ours, abs=1e-6)


def test_an_image_that_was_not_evaluated_is_noticed(shards, monkeypatch):
    monkeypatch.setattr(ShapesDataModule, "num_images", lambda data, split: 11)
    with pytest.raises(RuntimeError, match="Evaluated 10 images, but the index holds 11"):
        make_trainer().validate(make_module(), make_data(shards), verbose=False)


def test_the_learning_rate_is_scaled_to_the_total_batch(shards):
    module = make_module(
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        lr_scheduler=lambda optimizer: StepLR(optimizer, 100),
        reference_batch_size=2,
        warmup_steps=0,
    )
    trainer = make_trainer(max_steps=1)
    trainer.fit(module, make_data(shards))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1 * 4 / 2)
    assert "x 2 (4 images per step" in module.learning_rate_note


def test_the_checkpoint_carries_the_classes_and_refuses_others(shards, tmp_path):
    trainer = make_trainer()
    trainer.fit(make_module(), make_data(shards))
    path = tmp_path / "x.ckpt"
    trainer.save_checkpoint(path)

    stored = torch.load(path, weights_only=True)["lit_detseg"]
    assert stored["label_map"]["names"] == ["circle", "square", "triangle"]
    module = make_module()
    module.label_map = LabelMap(("cat", "dog", "cow"))
    with pytest.raises(UserError, match='label 0 is "circle" in one and "cat" in the other'):
        module.on_load_checkpoint({"lit_detseg": stored})


def test_dropout_depends_on_seed_and_step_only(shards):
    def losses(disturb):
        torch.manual_seed(disturb)
        trainer = make_trainer(max_steps=3)
        module = make_module()
        torch.manual_seed(disturb)
        trainer.fit(module, make_data(shards))
        return float(trainer.callback_metrics["train/loss"])

    assert losses(1) == losses(2)
