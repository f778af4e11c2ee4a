"""R-CNN and SPP-net through all of their stages, each with the weights of the one before."""

import pytest
import torch
from torch import nn

from lit_detseg.data.packing.pack import pack
from lit_detseg.models.backbones.backbone import Backbone, HeadLayers
from lit_detseg.models.backbones.fully_connected import fc6_fc7
from lit_detseg.models.region_network import Crops, RegionNetwork
from lit_detseg.modules import RCNN, RegionBoxes, RegionFeatures, RegionSVMs, SPPNet
from tests.callbacks.tiny import tiny_trainer
from tests.region_data import PlainShapesReader, one_pass, region_data
from tests.tiny_detection import ZERO_TO_ONE

STEP = 7  # pixels between proposals: few of them are exact


@pytest.fixture(scope="module")
def rectangles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rectangles")
    pack(PlainShapesReader(images=60, seed=0, size=64), folder / "train", samples_per_shard=30)
    pack(PlainShapesReader(images=30, seed=1, size=64), folder / "val", samples_per_shard=30)
    return folder


class TwoConvolutions(Backbone):
    """A map of stride 8 and 32 channels."""

    def __init__(self):
        super().__init__((8,), 32, ZERO_TO_ONE)
        self.first = nn.Conv2d(3, 16, 5, stride=4, padding=2)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1)

    def extract(self, pixels):
        return [self.second(self.first(pixels - 0.43).relu()).relu()]


def fine_tuning(parameters):
    return torch.optim.Adam(parameters, lr=0.003)


def rcnn():
    torch.manual_seed(0)
    head = HeadLayers(nn.Identity(), fc6_fc7(32 * 9, 64), 64, bins=3, trunk_channels=32)
    network = RegionNetwork(
        TwoConvolutions(), nn.AdaptiveMaxPool2d(3), 32 * 9, head, Crops(24, context=4)
    )
    return RCNN(3, network=network, optimizer=fine_tuning)


def spp_net(cache=None):
    torch.manual_seed(0)
    return SPPNet(
        3,
        backbone=TwoConvolutions(),
        scales=(64, 128),
        levels=(4, 2, 1),
        first_middle=0.5,
        head_width=64,
        cache=cache,
        optimizer=fine_tuning,
    )


class Chain:
    """Stages one after the other, and what the detector is worth after each."""

    def __init__(self, shards, folder, make_system):
        self.shards, self.folder, self.make_system = shards, folder, make_system
        self.weights = make_system().state_dict()

    def run(self, stage, epochs, batch=4):
        stage.load_state_dict(self.weights)
        stage.passes = epochs
        data = region_data(self.shards, batch, step=STEP)
        one_pass(stage, data, self.folder / type(stage).__name__)
        self.weights = stage.state_dict()

    def scores(self, **settings):
        system = self.make_system()
        system.load_state_dict(self.weights)
        for name, value in settings.items():
            setattr(system.model, name, value)
        data = region_data(self.shards, step=STEP)
        trainer = tiny_trainer(self.folder / "scores", limit_val_batches=1.0)
        (found,) = trainer.validate(system, data, verbose=False)
        return found


def test_r_cnn_gets_better_from_stage_to_stage(rectangles, tmp_path):
    """As in the paper: softmax < SVMs < SVMs and box regression."""
    chain, cache = Chain(rectangles, tmp_path, rcnn), str(tmp_path / "cache")
    chain.run(rcnn(), epochs=30, batch=6)
    softmax = chain.scores()
    chain.run(RegionFeatures(rcnn(), cache), epochs=1)
    chain.run(RegionSVMs(rcnn(), cache), epochs=2)
    svms = chain.scores()
    assert chain.scores(scorer="softmax") == softmax  # the ablation is still there
    chain.run(RegionBoxes(rcnn(), cache), epochs=1)
    boxes = chain.scores()
    assert chain.scores(box_regression=False) == svms

    assert 0.1 < softmax["val/map"] < svms["val/map"]
    assert boxes["val/map"] > svms["val/map"] + 0.1
    assert boxes["val/map_50"] > 0.8


def test_spp_net_finds_rectangles_though_its_convolutions_are_random(rectangles, tmp_path):
    chain, cache = Chain(rectangles, tmp_path, spp_net), str(tmp_path / "cache")
    chain.run(RegionFeatures(spp_net(), cache), epochs=1)
    chain.run(spp_net(cache), epochs=30, batch=6)
    chain.run(RegionSVMs(spp_net(), cache), epochs=2)
    svms = chain.scores()
    chain.run(RegionBoxes(spp_net(), cache), epochs=1)
    boxes = chain.scores()

    assert boxes["val/map"] > svms["val/map"] + 0.03
    assert boxes["val/map_50"] > 0.45
