"""What the `weights` of a backbone may say."""

import numpy as np
import pytest
import torch

from lit_detseg.models.normalization import CAFFE, TORCHVISION
from lit_detseg.models.weights.pretrained import find_pretrained
from lit_detseg.structures import UserError


@pytest.fixture
def files(tmp_path):
    torch.save({"weight": torch.ones(1)}, tmp_path / "net.pth")
    np.savez(tmp_path / "net.npz", weight=np.ones(1, dtype=np.float32))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "asked", "expected"),
    [
        ("net.pth", "auto", TORCHVISION),
        ("net.npz", "auto", CAFFE),
        ("net.pth", "caffe", CAFFE),
        ("net.npz", "torchvision", TORCHVISION),
    ],
)
def test_statistics_follow_the_kind_of_file_unless_told(files, file, asked, expected):
    pretrained = find_pretrained("resnet18", str(files / file), asked)
    assert pretrained.statistics == expected
    assert pretrained.values == {"weight": torch.ones(1)}


@pytest.mark.parametrize("weights", ["none", "from_checkpoint"])
def test_nothing_is_read_where_nothing_is_named(weights):
    assert find_pretrained("resnet18", weights) == (None, weights, TORCHVISION)


def test_unknown_statistics_are_named():
    with pytest.raises(UserError, match='pixel_statistics = "imagenet": use "auto"'):
        find_pretrained("resnet18", "none", "imagenet")


@pytest.mark.parametrize("weights", ["absent.pth", "folder/absent", "absent.npz"])
def test_what_looks_like_a_file_is_not_searched_for_in_torchvision(weights):
    with pytest.raises(UserError, match=f'no weights file "{weights}"'):
        find_pretrained("resnet18", weights)
