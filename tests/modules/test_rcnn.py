"""What the LightningModules of R-CNN and SPP-net fix, and fine-tuning on cached features."""

import numpy as np
import pytest
import torch

from lit_detseg.assignment.regions import RegionSampling
from lit_detseg.models.backbones import build_backbone
from lit_detseg.modules import RCNN, RegionFeatures, SPPNet
from lit_detseg.structures import UserError
from tests.region_data import one_pass, region_data, tiny_spp_net_module


def test_r_cnn_has_the_paper_s_sampling_and_optimizer():
    module = RCNN(num_classes=20, network="squeezenet1_0", crop_side=64, crop_context=4)
    assert module.model.sampling == RegionSampling(2, 6, 0.5, (0.0, 0.5))
    assert module.model.class_logits.out_features == 21
    assert module.model.network.crops == (64, 4, "warp")
    optimizer = module.optimizer(module.parameters())
    chosen = {name: optimizer.defaults[name] for name in ("lr", "momentum", "weight_decay")}
    assert chosen == {"lr": 0.001, "momentum": 0.9, "weight_decay": 0.0005}  # section 2.3


def test_spp_net_has_the_paper_s_scales_pyramid_and_sampling():
    model = SPPNet(num_classes=20, head_width=8).model
    assert model.scales == (480, 576, 688, 864, 1200)
    assert model.layers.fc6.in_features == 256 * 50
    assert model.first_middle == 0.5
    assert model.sampling == RegionSampling(2, 6, 0.5, (0.1, 0.5))
    assert not any(parameter.requires_grad for parameter in model.backbone.parameters())


@pytest.mark.parametrize(("backbone", "middle"), [("squeezenet1_0", 10.5), ("zf", 0.5)])
def test_it_is_known_where_the_cells_of_a_backbone_look(backbone, middle):
    module = SPPNet(num_classes=3, backbone=backbone, levels=(1,), head_width=8)
    assert module.model.first_middle == middle


def test_weights_of_fc_layers_come_from_a_file(tmp_path):
    arrays = {
        "fc6.weight": np.full((8, 64), 0.5, np.float32),
        "fc6.bias": np.zeros(8, np.float32),
        "fc7.weight": np.ones((8, 8), np.float32),
        "fc7.bias": np.zeros(8, np.float32),
        "conv1.weight": np.zeros((1, 1), np.float32),  # of the same file, not asked for here
    }
    np.savez(tmp_path / "layers.npz", **arrays)
    backbone = build_backbone("tiny_fpn")
    module = SPPNet(
        num_classes=3,
        backbone=backbone,
        layer_weights=str(tmp_path / "layers.npz"),
        levels=(1,),
        first_middle=8.0,
        head_width=8,
    )
    assert module.model.layers.fc6.weight.eq(0.5).all()
    with pytest.raises(UserError, match=r"fc6.weight has shape \(8, 64\) instead of \(8, 320\)"):
        SPPNet(
            num_classes=3,
            backbone=backbone,
            layer_weights=str(tmp_path / "layers.npz"),
            levels=(2, 1),
            first_middle=8.0,
            head_width=8,
        )


@pytest.mark.parametrize(
    ("build", "said"),
    [
        pytest.param(lambda: RCNN(), "num_classes is missing", id="no classes"),
        pytest.param(
            lambda: SPPNet(3, backbone="tiny_fpn"), "where the cells of tiny_fpn look", id="middle"
        ),
        pytest.param(
            lambda: SPPNet(3, build_backbone("tiny_fpn"), first_middle=8.0, backbone_weights="x"),
            "this one was given as an object",
            id="weights for a backbone that is there already",
        ),
    ],
)
def test_what_cannot_be_is_refused(build, said):
    with pytest.raises(UserError, match=said):
        build()


@pytest.fixture
def cached(shards, tmp_path):
    """The features of an SPP-net with one scale, where nothing is left to chance."""
    cache = str(tmp_path / "cache")
    stage = RegionFeatures(tiny_spp_net_module(scales=(64,)), cache, precision="float32")
    one_pass(stage, region_data(shards), tmp_path / "features")
    return cache


def losses_and_weights(module, shards, folder):
    module.passes = 1
    trainer = one_pass(module, region_data(shards), folder, log_every_n_steps=1)
    return trainer.callback_metrics["train/loss"], module.state_dict()


def test_fine_tuning_on_cached_features_is_the_same_without_computing_them(
    shards, tmp_path, cached, monkeypatch
):
    computed = tiny_spp_net_module(scales=(64,))
    loss, weights = losses_and_weights(computed, shards, tmp_path / "computed")

    from_cache = tiny_spp_net_module(scales=(64,), cache=cached)
    monkeypatch.setattr(from_cache.model, "region_features", None)
    cached_loss, cached_weights = losses_and_weights(from_cache, shards, tmp_path / "cached")

    torch.testing.assert_close(cached_loss, loss)
    for name, value in weights.items():
        torch.testing.assert_close(cached_weights[name], value, msg=name)


def test_a_stale_cache_is_refused_when_fine_tuning_starts(shards, tmp_path, cached):
    module = tiny_spp_net_module(scales=(48,), cache=cached)
    with pytest.raises(UserError, match="another detector: settings"):
        losses_and_weights(module, shards, tmp_path / "run")
