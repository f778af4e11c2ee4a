"""ZF: layers, what learns, and weights of SPP-net, whose fc6 is another."""

import numpy as np
import pytest
import torch
from torch import nn

from lit_detseg.models.backbones.response_norm import ResponseNorm
from lit_detseg.models.backbones.zf import ZF
from lit_detseg.structures import UserError


def test_no_weight_of_the_convolutions_is_missing():
    """Input channels x filters x kernel, and biases."""
    expected = 3 * 96 * 49 + 96 * 256 * 25 + 256 * 384 * 9 + 384 * 384 * 9 + 384 * 256 * 9
    expected += 96 + 256 + 384 + 384 + 256
    assert sum(p.numel() for p in ZF(with_head=False).parameters()) == expected


def test_it_normalises_within_a_channel_before_it_pools():
    stage = ZF(with_head=False).stages[0]
    assert [type(layer) for layer in stage] == [nn.Conv2d, nn.ReLU, ResponseNorm, nn.MaxPool2d]
    assert (stage[2].size, stage[2].alpha, stage[2].beta) == (3, 5e-5, 0.75)
    assert stage[2].region == "within_channel"


def test_everything_learns_pretrained_or_not():
    assert all(p.requires_grad for p in ZF("from_checkpoint", with_head=False).parameters())


def test_head_turns_6_x_6_rois_into_4096_features():
    head = ZF().head_layers
    assert head.layers(torch.randn(2, 256, head.bins, head.bins)).shape == (2, head.num_features)


@pytest.fixture
def weights_of_spp_net(tmp_path):
    """Convolutions as here, an fc6 that reads 50 bins: no copy of 200 MB, but of its shape."""
    network = ZF(with_head=False)
    arrays = {}
    for i, stage in enumerate(network.stages, 1):
        arrays[f"conv{i}.weight"] = stage[0].weight.detach().numpy()
        arrays[f"conv{i}.bias"] = stage[0].bias.detach().numpy()
    arrays["fc6.weight"] = np.zeros((8, 12_800), np.float32)
    np.savez(tmp_path / "zf5.npz", **arrays)
    return network, tmp_path / "zf5.npz"


def test_the_file_of_another_head_brings_its_convolutions(weights_of_spp_net):
    network, path = weights_of_spp_net
    loaded = ZF(str(path), with_head=False)
    for mine, theirs in zip(loaded.stages.parameters(), network.stages.parameters(), strict=True):
        assert mine.equal(theirs)
    assert loaded.normalization.mean.flatten().tolist() == [104.0, 117.0, 123.0]  # Caffe's, BGR


def test_but_not_its_head(weights_of_spp_net):
    with pytest.raises(UserError, match=r"fc6.weight has shape \(8, 12800\) instead of"):
        ZF(str(weights_of_spp_net[1]))
