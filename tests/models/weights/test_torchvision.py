"""torchvision's weights by name: from the cache; otherwise an error that says where to put them."""

import hashlib
import socket
import time
import urllib.request

import pytest
import torch
from torchvision.models import resnet18

from lit_detseg.models.weights.torchvision import download, torchvision_weights
from lit_detseg.structures import UserError


@pytest.fixture(autouse=True)
def _fresh_opener(monkeypatch):
    """urllib remembers the proxies of its first use."""
    monkeypatch.setattr(urllib.request, "_opener", None)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty torch.hub cache, and no internet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("name", ["DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_cached_weights_are_read_under_each_of_their_names(cache, name):
    cache.mkdir(parents=True)
    state = resnet18().state_dict()
    torch.save(state, cache / "resnet18-f37072fd.pth")

    weights, statistics = torchvision_weights("resnet18", name)

    assert weights.keys() == state.keys()
    assert statistics.mean == pytest.approx((123.675, 116.28, 103.53))
    assert statistics.channel_order == "rgb"


def test_weights_of_caffe_origin_bring_their_statistics(cache):
    """torchvision documents them for VGG-16's IMAGENET1K_FEATURES: RGB, means 123, 117, 104."""
    cache.mkdir(parents=True)
    torch.save({"some": torch.ones(1)}, cache / "vgg16_features-amdegroot-88682ab5.pth")

    _, statistics = torchvision_weights("vgg16", "IMAGENET1K_FEATURES")

    assert statistics.mean == pytest.approx((123, 117, 104), abs=0.01)
    assert statistics.std == pytest.approx((1, 1, 1))


def test_without_internet_the_file_and_its_folder_are_named(cache):
    start = time.monotonic()
    with pytest.raises(UserError, match="resnet50-11ad3fa6.pth are not in") as error:
        torchvision_weights("resnet50", "DEFAULT")

    assert str(cache) in str(error.value)
    assert list(cache.iterdir()) == []  # no half file
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("IMAGENET1K_V3", 'resnet50 has no weights "IMAGENET1K_V3". Nearest: "IMAGENET1K_V'),
        ("ResNet18_Weights.DEFAULT", 'resnet50 has no weights "ResNet18_Weights.DEFAULT"'),
    ],
)
def test_unknown_weights_are_answered_with_the_nearest(name, message):
    with pytest.raises(UserError, match=message):
        torchvision_weights("resnet50", name)


def test_a_download_is_checked_against_the_checksum_in_its_name(tmp_path):
    content = b"weights"
    good = tmp_path / "there" / f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    bad = tmp_path / "there" / "net-00000000.pth"
    (tmp_path / "here").write_bytes(content)
    url = (tmp_path / "here").as_uri()

    download(url, good)
    with pytest.raises(UserError, match="invalid hash"):
        download(url, bad)

    assert good.read_bytes() == content
    assert not bad.exists()


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("lit_detseg.models.weights.torchvision.SILENCE", 0.2)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and never answers
        url = f"http://127.0.0.1:{server.getsockname()[1]}/net-00000000.pth"
        with pytest.raises(UserError, match="cannot be downloaded: .*timed out"):
            download(url, tmp_path / "net-00000000.pth")
    assert socket.getdefaulttimeout() is None
