"""Box regressors against scikit-learn on pairs collected by hand, and what they do to boxes."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torchvision.ops import box_iou

from lit_detseg.modules import RegionBoxes, RegionFeatures
from lit_detseg.modules.rcnn_box_stage import SPP_NET_BOXES, BoxSettings, fit_boxes
from lit_detseg.ops.box_coding import decode_boxes, encode_boxes
from lit_detseg.runs.checkpoints import newest_valid_checkpoint
from tests.callbacks.tiny import Diary, StoppedError
from tests.region_data import one_pass, region_data, tiny_rcnn_module, tiny_spp_net_module


def draw(pairs=300, features=6):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(pairs, features, generator=generator)
    y = x @ torch.randn(features, 4, generator=generator) / 10
    return x, y + torch.randn(pairs, 4, generator=generator) / 50


def test_without_whitening_it_is_plain_ridge_regression_with_a_constant_feature():
    x, y = draw()
    fitted = fit_boxes(x, y, BoxSettings(whiten=False, penalty=10.0))
    constant = np.c_[x.double().numpy(), np.ones(len(x))]
    ridge = Ridge(alpha=10.0, fit_intercept=False).fit(constant, y.double().numpy())
    np.testing.assert_allclose(fitted.weights, ridge.coef_[:, :-1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fitted.bias, ridge.coef_[:, -1], rtol=1e-4, atol=1e-6)
    missed = ridge.predict(constant) - y.double().numpy()
    assert fitted.residual == pytest.approx((missed**2).mean() / 2, rel=1e-4)


def test_with_whitening_targets_are_regressed_in_other_units_and_taken_back():
    x, y = draw()
    fitted = fit_boxes(x, y, BoxSettings(penalty=10.0))
    targets = y.double().numpy()
    mean = targets.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(targets.T, bias=True))
    there = vectors @ np.diag((values + 0.001) ** -0.5) @ vectors.T
    back = vectors @ np.diag((values + 0.001) ** 0.5) @ vectors.T
    constant = np.c_[x.double().numpy(), np.ones(len(x))]
    ridge = Ridge(alpha=10.0, fit_intercept=False).fit(constant, (targets - mean) @ there)
    expected = ridge.predict(constant) @ back + mean
    found = x.numpy() @ fitted.weights.T + fitted.bias
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_a_hopeless_penalty_leaves_the_mean_offset():
    x, y = draw()
    fitted = fit_boxes(x, y, BoxSettings(penalty=1e12))
    np.testing.assert_allclose(fitted.bias, y.mean(dim=0).numpy(), atol=1e-6)
    np.testing.assert_allclose(fitted.weights, 0, atol=1e-6)


class Looking(RegionBoxes):
    """Collects the same pairs, the slow way."""

    def look_at(self, images, is_last_step):
        for image in images:
            iou = box_iou(image.boxes, image.objects.boxes)
            for i, row in enumerate(iou):
                if len(row) and row.max() > 0.6:
                    best = row.argmax()
                    offsets = encode_boxes(image.objects.boxes[best], image.boxes[i])
                    label = int(image.objects.labels[best])
                    self.pairs.append((label, image.pooled()[i], offsets))
        return super().look_at(images, is_last_step)


def test_each_class_learns_from_its_own_pairs(shards, tmp_path):
    stage = Looking(tiny_rcnn_module())
    stage.pairs = []
    trainer = one_pass(stage, region_data(shards, step=8), tmp_path)

    regressors = stage.model.box_regressors
    for label, name in enumerate(("circle", "square", "triangle")):
        mine = [pair for pair in stage.pairs if pair[0] == label]
        assert trainer.callback_metrics[f"train/pairs_{name}"] == len(mine) > 10
        features = torch.stack([pooled for _, pooled, _ in mine]) * regressors.scale
        offsets = torch.stack([wanted for _, _, wanted in mine])
        expected = fit_boxes(features, offsets)
        np.testing.assert_allclose(regressors.weights[label], expected.weights, atol=1e-5)
        np.testing.assert_allclose(regressors.bias[label], expected.bias, atol=1e-5)
        residual = trainer.callback_metrics[f"train/residual_{name}"]
        assert residual.item() == pytest.approx(expected.residual, rel=1e-4)
        norms = stage.collected["norms"].joined.double().mean().item()
        assert regressors.scale.item() == pytest.approx(20 / norms)


def test_boxes_are_moved_onto_their_objects_where_features_tell():
    """Features that are linear in the offsets, and hardly any penalty."""
    offsets = draw()[1]
    features = offsets @ torch.randn(4, 6, generator=torch.Generator().manual_seed(1)) * 20
    fitted = fit_boxes(features, offsets, BoxSettings(penalty=1e-3))
    found = features @ torch.from_numpy(fitted.weights).T + torch.from_numpy(fitted.bias)
    square = torch.tensor([[0.0, 0, 10, 10]])
    moved, objects = decode_boxes(found, square), decode_boxes(offsets, square)
    assert box_iou(square, objects).min() < 0.9
    assert box_iou(moved, objects).diagonal().min() > 0.99


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_mixed_precision_trainer_computes_features_in_it_and_nothing_else(
    shards, tmp_path, precision
):
    options = {"precision": "bf16-mixed"}
    cache = str(tmp_path / "cache")
    features = RegionFeatures(tiny_rcnn_module(), cache, precision=precision)
    one_pass(features, region_data(shards), tmp_path / "features", **options)
    stage = RegionBoxes(tiny_rcnn_module(), cache)
    one_pass(stage, region_data(shards), tmp_path / "mixed", **options)
    exact = RegionBoxes(tiny_rcnn_module(), cache)
    one_pass(exact, region_data(shards), tmp_path / "exact")
    assert stage.model.box_regressors.weights.equal(exact.model.box_regressors.weights)


@pytest.mark.parametrize("stop", [1, 5])
def test_a_stopped_stage_ends_with_the_same_bits(shards, tmp_path, stop):
    cache = str(tmp_path / "cache")
    one_pass(RegionFeatures(tiny_rcnn_module(), cache), region_data(shards), tmp_path / "features")
    whole = RegionBoxes(tiny_rcnn_module(), cache)
    one_pass(whole, region_data(shards), tmp_path / "whole")

    run = tmp_path / "run"
    with pytest.raises(StoppedError):
        one_pass(RegionBoxes(tiny_rcnn_module(), cache), region_data(shards), run, Diary(stop))
    continued = RegionBoxes(tiny_rcnn_module(), cache)
    newest = newest_valid_checkpoint(run / "checkpoints")
    one_pass(continued, region_data(shards), run, ckpt_path=newest)

    assert whole.pass_state()["pooled"].dtype == torch.float16  # as cached
    for name, value in whole.pass_state().items():
        assert value.equal(continued.pass_state()[name]), name
    for name, value in whole.state_dict().items():
        assert value.equal(continued.state_dict()[name]), name


def test_spp_net_has_pairs_of_its_own():
    assert RegionBoxes(tiny_spp_net_module()).settings == SPP_NET_BOXES
    assert RegionBoxes(tiny_rcnn_module()).settings == BoxSettings(0.6, False, 1000.0, True)
    assert (SPP_NET_BOXES.iou, SPP_NET_BOXES.at_least) == (0.5, True)


def test_a_class_without_pairs_moves_nothing(shards, tmp_path):
    stage = RegionBoxes(tiny_rcnn_module(), boxes=BoxSettings(iou=1.0))  # nothing overlaps by more
    trainer = one_pass(stage, region_data(shards), tmp_path)
    assert trainer.callback_metrics["train/pairs"] == 0
    assert stage.model.box_regressors(torch.rand(2, 32)).eq(0).all()
