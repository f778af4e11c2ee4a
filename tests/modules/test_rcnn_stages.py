"""SVMs: liblinear's objective, hard negative mining against all negatives at once, resuming."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC
from torchvision.ops import box_iou

from lit_detseg.assignment.matching import Objects
from lit_detseg.assignment.regions import svm_negatives
from lit_detseg.models.heads.linear_svms import NEVER
from lit_detseg.modules import RegionFeatures, RegionSVMs
from lit_detseg.modules.rcnn_stages import SPP_NET_SVMS, SVMSettings, _image_key, fit_svm
from lit_detseg.runs.checkpoints import newest_valid_checkpoint
from lit_detseg.structures import UserError
from tests.callbacks.tiny import Diary, StoppedError
from tests.region_data import one_pass, region_data, tiny_rcnn_module, tiny_spp_net_module

# Tighter than the default, so that two ways to the same minimum meet.
EXACT = {"tolerance": 1e-7, "max_iterations": 100_000}


def test_one_svm_by_hand():
    """x = +1 and x = -1, wide apart: with C = 0.1 both lie inside the margin.

    w^2 / 2 + b^2 / (2 B^2) + 2 C (1 - w - b) + C (1 - w + b): w = 3 C, b = C B^2.
    """
    settings = SVMSettings(penalty=0.1, bias_feature=1.0, **EXACT)
    fitted = fit_svm(torch.tensor([[1.0]]), torch.tensor([[-1.0]]), settings)
    w, b = 0.3, 0.1
    assert fitted.weights.tolist() == pytest.approx([w], abs=1e-5)
    assert fitted.bias == pytest.approx(b, abs=1e-5)
    loss = w**2 / 2 + b**2 / 2 + 0.2 * (1 - w - b) + 0.1 * (1 - w + b)
    assert fitted.loss == pytest.approx(loss, abs=1e-6)


def test_the_bias_is_regularised_less_with_a_larger_constant_feature():
    """The same, B = 2: b = C B^2 = 0.4; the two margins are 0.7 and 0.1."""
    settings = SVMSettings(penalty=0.1, bias_feature=2.0, **EXACT)
    fitted = fit_svm(torch.tensor([[1.0]]), torch.tensor([[-1.0]]), settings)
    assert fitted.bias == pytest.approx(0.4, abs=1e-5)


def test_nothing_near_the_minimum_is_lower():
    generator = torch.Generator().manual_seed(0)
    positives = torch.randn(30, 5, generator=generator) + 0.5
    negatives = torch.randn(200, 5, generator=generator)
    settings = SVMSettings(**EXACT)
    fitted = fit_svm(positives, negatives, settings)

    def loss(weights, bias):
        up = np.maximum(0, 1 - (positives.double().numpy() @ weights + bias)).sum()
        down = np.maximum(0, 1 + (negatives.double().numpy() @ weights + bias)).sum()
        return weights @ weights / 2 + (bias / 10) ** 2 / 2 + 0.001 * (2 * up + down)

    assert fitted.loss == pytest.approx(loss(fitted.weights, fitted.bias))
    random = np.random.default_rng(0)
    for _ in range(50):
        step = random.normal(size=6) * 1e-3
        assert loss(fitted.weights + step[:5], fitted.bias + step[5]) >= fitted.loss - 1e-9


def of_data(shards, model):
    """Boxes, objects and features (unscaled) of every training image."""
    data = region_data(shards, batch=1)
    for packed in data.train_dataloader():
        batch = data.on_after_batch_transfer(packed, 0)
        target = batch.targets[0]
        boxes = torch.cat([target.boxes, batch.images.proposals[0]])
        with torch.no_grad():
            features = model.layers(model.region_features(batch.images, [boxes])[0])
        yield boxes, Objects(target.boxes, target.labels), features


def all_at_once(shards, settings):
    """Each class's SVM on all its negatives, with scikit-learn alone."""
    model = tiny_rcnn_module().model.eval()
    images = list(of_data(shards, model))
    scale = 20 / torch.cat([features.norm(dim=1) for _, _, features in images]).mean()
    positives = {label: [] for label in range(3)}
    negatives = {label: [] for label in range(3)}
    for boxes, objects, features in images:
        of_class = svm_negatives(boxes, objects, 3)
        for label in range(3):
            own = features[: len(objects.labels)][objects.labels == label]
            positives[label].append(own * scale)
            negatives[label].append(features[of_class[:, label]] * scale)
    for label in range(3):
        x = torch.cat(positives[label] + negatives[label]).double().numpy()
        count = sum(map(len, positives[label]))
        y = np.array([1] * count + [-1] * (len(x) - count))
        svm = LinearSVC(
            loss="hinge",
            C=0.001,
            class_weight={1: 2.0},
            intercept_scaling=10,
            tol=settings.tolerance,
            max_iter=settings.max_iterations,
            random_state=1,
        )
        yield scale, torch.from_numpy(svm.fit(x, y).coef_[0]), svm.intercept_[0]


@pytest.mark.parametrize("batch", [1, 4])
def test_mining_ends_where_all_negatives_at_once_do(shards, tmp_path, batch):
    """22 images have fewer regions than 200 each: the mean norm is that of all of them."""
    settings = SVMSettings(retrain_after=300, **EXACT)
    stage = RegionSVMs(tiny_rcnn_module(), svms=settings)
    trainer = one_pass(stage, region_data(shards, batch), tmp_path)

    svms = stage.model.svms
    for label, (scale, weights, bias) in enumerate(all_at_once(shards, settings)):
        assert svms.scale.item() == pytest.approx(scale.item(), rel=1e-5)
        torch.testing.assert_close(svms.weights[label], weights.float(), rtol=1e-3, atol=1e-4)
        assert svms.bias[label].item() == pytest.approx(bias, abs=1e-3)
    assert (stage.trainings > 2).all()
    logged = trainer.callback_metrics
    assert logged["train/trainings"] == stage.trainings.sum()
    assert logged["train/negatives"] == len(stage.negatives) > 0
    parts = [logged[f"train/hinge_{name}"] for name in ("circle", "square", "triangle")]
    assert logged["train/loss"] == pytest.approx(sum(map(float, parts)))


class Noting(RegionSVMs):
    """Remembers the images of the last step."""

    def look_at(self, images, is_last_step):
        self.images = images
        return super().look_at(images, is_last_step)


def test_a_step_adds_all_negatives_as_long_as_there_is_no_svm(shards, tmp_path):
    """The first mined image: each region, for every class of which it is a negative."""
    stage = Noting(tiny_rcnn_module(), svms=SVMSettings(easy_margin=-math.inf))
    with pytest.raises(StoppedError):
        one_pass(stage, region_data(shards, batch=1), tmp_path, Diary(stop=22 + 1))
    (image,) = stage.images
    expected = svm_negatives(image.boxes, image.objects, 3)
    assert stage.negatives.of_class.equal(expected[expected.any(dim=1)])
    assert stage.trainings.tolist() == [1, 1, 1]
    assert stage.negatives.added.tolist() == [0, 0, 0]


def test_only_what_is_hard_comes_later_and_what_is_easy_goes(shards, tmp_path):
    stage = RegionSVMs(tiny_rcnn_module())
    one_pass(stage, region_data(shards), tmp_path)
    for label in range(3):
        margins = stage.negatives.of(label) @ stage.model.svms.weights[label]
        margins += stage.model.svms.bias[label]
        assert (margins >= -1.2).all()
    total = sum(
        int(svm_negatives(boxes, objects, 3).any(dim=1).sum())
        for boxes, objects, _ in of_data(shards, tiny_rcnn_module().model.eval())
    )
    assert len(stage.negatives) < total


def state_of(stage):
    state = stage.pass_state()
    negatives = {f"negatives.{name}": value for name, value in state.pop("negatives").items()}
    return {**stage.state_dict(), **negatives, **state}


@pytest.mark.parametrize("stop", [3, 6, 8, 11])
def test_a_stopped_stage_ends_with_the_same_bits(shards, tmp_path, stop):
    settings = SVMSettings(retrain_after=100)
    whole = RegionSVMs(tiny_rcnn_module(), svms=settings)
    one_pass(whole, region_data(shards), tmp_path / "whole")

    run = tmp_path / "run"
    stopped = RegionSVMs(tiny_rcnn_module(), svms=settings)
    with pytest.raises(StoppedError):
        one_pass(stopped, region_data(shards), run, Diary(stop))
    continued = RegionSVMs(tiny_rcnn_module(), svms=settings)
    newest = newest_valid_checkpoint(run / "checkpoints")
    one_pass(continued, region_data(shards), run, ckpt_path=newest)

    expected, found = state_of(whole), state_of(continued)
    assert expected.keys() == found.keys()
    assert [name for name in expected if not expected[name].equal(found[name])] == []


def test_cached_features_give_the_same_svms(shards, tmp_path):
    cache = str(tmp_path / "cache")
    features = RegionFeatures(tiny_rcnn_module(), cache=cache, precision="float32")
    one_pass(features, region_data(shards), tmp_path / "features")
    stages = [RegionSVMs(tiny_rcnn_module(), folder) for folder in (None, cache)]
    for number, stage in enumerate(stages):
        one_pass(stage, region_data(shards), tmp_path / str(number))
    computed, cached = (stage.model.svms.weights for stage in stages)
    torch.testing.assert_close(computed, cached, rtol=1e-3, atol=1e-5)


def test_a_mixed_precision_trainer_computes_features_in_it_and_nothing_else(shards, tmp_path):
    stage = RegionSVMs(tiny_rcnn_module())
    one_pass(stage, region_data(shards), tmp_path / "mixed", precision="bf16-mixed")
    exact = RegionSVMs(tiny_rcnn_module())
    one_pass(exact, region_data(shards), tmp_path / "exact")
    first, second = (one.collected["positives"].joined for one in (stage, exact))
    assert first.equal(first.bfloat16().float())  # in bfloat16...
    torch.testing.assert_close(first, second, rtol=0.1, atol=0.05)
    assert not stage.model.svms.weights.equal(stage.model.svms.weights.bfloat16().float())


def test_a_class_without_objects_is_never_found(shards, tmp_path):
    class NoTriangles(RegionSVMs):
        def look_at(self, images, is_last_step):
            for image in images:
                boxes, labels = image.objects
                image.objects = Objects(boxes[labels != 2], labels[labels != 2])
                image.boxes = image.boxes[len(boxes) - len(image.objects.boxes) :]
            return super().look_at(images, is_last_step)

    stage = NoTriangles(tiny_rcnn_module())
    one_pass(stage, region_data(shards), tmp_path)
    svms = stage.model.svms
    assert svms.bias[2] == NEVER
    assert svms.weights[2].eq(0).all()
    assert stage.trainings.tolist()[2] == 0
    assert svms(torch.rand(4, 32))[:, 2].sigmoid().eq(0).all()


def test_svms_that_were_there_before_are_forgotten(shards, tmp_path):
    first = RegionSVMs(tiny_rcnn_module())
    one_pass(first, region_data(shards), tmp_path / "first")
    second = RegionSVMs(tiny_rcnn_module())
    second.load_state_dict(first.state_dict())
    one_pass(second, region_data(shards), tmp_path / "second")
    assert second.model.svms.weights.equal(first.model.svms.weights)


def test_spp_net_s_negatives_do_not_overlap_much(shards, tmp_path):
    stage = Noting(tiny_spp_net_module(), svms=replace(SPP_NET_SVMS, easy_margin=-math.inf))
    assert stage.settings.negative_nms == 0.7
    assert RegionSVMs(tiny_spp_net_module()).settings == SPP_NET_SVMS
    assert RegionSVMs(tiny_rcnn_module()).settings == SVMSettings()
    data = region_data(shards, batch=1, step=4)
    with pytest.raises(StoppedError):
        one_pass(stage, data, tmp_path, Diary(stop=22 + 1))
    (image,) = stage.images
    every = svm_negatives(image.boxes, image.objects, 3)
    places = (stage.negatives.keys - _image_key(image.image_id)).tolist()
    for label in range(3):
        kept = image.boxes[places][stage.negatives.of_class[:, label]]
        overlap = box_iou(kept, kept).fill_diagonal_(0)
        assert overlap.max() <= 0.7
        # And what is not kept overlaps something that is.
        assert (box_iou(image.boxes[every[:, label]], kept).max(dim=1).values > 0.7).all()


def test_features_that_are_all_zero_are_refused(shards, tmp_path):
    stage = RegionSVMs(tiny_rcnn_module())
    with torch.no_grad():
        for parameter in stage.model.layers.parameters():
            parameter.zero_()
    with pytest.raises(UserError, match="nothing to learn from"):
        one_pass(stage, region_data(shards), tmp_path)
