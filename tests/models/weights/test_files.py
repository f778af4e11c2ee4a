"""Files of weights: what is read, and what is refused in words."""

import logging
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from lit_detseg.models.weights.files import load_weights, read_weights
from lit_detseg.structures import UserError


@pytest.fixture
def network():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda state: state, id="bare"),
        pytest.param(lambda state: {"state_dict": state, "epoch": 3}, id="Lightning"),
        pytest.param(lambda state: {"model": state}, id="torchvision references"),
        pytest.param(lambda state: {f"module.{k}": v for k, v in state.items()}, id="DDP"),
    ],
)
def test_state_dicts_are_found_inside_checkpoints(tmp_path, network, wrap):
    torch.save(wrap(dict(network.state_dict())), tmp_path / "weights.ckpt")

    state = read_weights(tmp_path / "weights.ckpt")

    assert state.keys() == network.state_dict().keys()
    assert all(value.equal(network.state_dict()[name]) for name, value in state.items())


def test_numpy_archives_are_read(tmp_path):
    np.savez(tmp_path / "weights.npz", **{"0.weight": np.arange(6, dtype=np.float32)})
    assert read_weights(tmp_path / "weights.npz")["0.weight"].tolist() == [0, 1, 2, 3, 4, 5]


def test_code_in_a_pickle_is_not_run(tmp_path):
    marker = tmp_path / "was-run"

    class Trap:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    torch.save({"weight": torch.ones(1), "trap": Trap()}, tmp_path / "weights.pth")

    with pytest.raises(UserError, match="cannot be read as weights"):
        read_weights(tmp_path / "weights.pth")
    assert not marker.exists()


def test_objects_in_a_numpy_archive_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", weight=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="cannot be read as weights"):
        read_weights(tmp_path / "weights.npz")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("cut.pth", b"PK\x03\x04half", "cannot be read as weights", id="cut short"),
        pytest.param("empty.pth", b"", "cannot be read as weights", id="empty"),
        pytest.param("cut.npz", b"PK\x03\x04half", "cannot be read as weights", id="cut npz"),
        pytest.param(
            "old.pth", pickle.dumps([1, 2], protocol=2), "cannot be read as weights", id="pickle"
        ),
    ],
)
def test_broken_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}.*{message}"):
        read_weights(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match='no weights file ".*absent.pth"'):
        read_weights(tmp_path / "absent.pth")


def test_a_file_without_tensors_says_what_it_holds(tmp_path):
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "notes.pt")
    with pytest.raises(UserError, match="holds no tensors, only epoch, lr"):
        read_weights(tmp_path / "notes.pt")


def test_weights_are_copied_without_the_old_counter(network):
    weights = {name: torch.rand_like(v.float()) for name, v in network.state_dict().items()}
    del weights["1.num_batches_tracked"]

    load_weights(network, weights, "a file")

    assert all(network.state_dict()[name].equal(value) for name, value in weights.items())


def test_unwanted_weights_are_mentioned_in_the_log(network, caplog):
    weights = {**network.state_dict(), "fc.weight": torch.ones(1)}
    with caplog.at_level(logging.INFO):
        load_weights(network, weights, "resnet.pth", ignored_prefixes=("fc.",))
    assert "Not used from resnet.pth: fc.weight." in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"0.bias": None}, "x.pth .*: 0.bias is missing", id="missing"),
        pytest.param({"2.bias": torch.ones(1)}, "2.bias is unexpected", id="unexpected"),
        pytest.param(
            {"0.bias": torch.ones(4)}, r"0.bias has shape \(4,\) instead of \(3,\)", id="shape"
        ),
        pytest.param({"0.bias": torch.full((3,), torch.nan)}, "0.bias is not finite", id="NaN"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(network, change, message):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = {**network.state_dict(), **change}
    weights = {name: value * 2 for name, value in weights.items() if value is not None}

    with pytest.raises(UserError, match=message):
        load_weights(network, weights, "x.pth")

    assert all(value.equal(before[name]) for name, value in network.state_dict().items())


def test_five_problems_are_enough(network):
    weights = {f"layer{number}": torch.ones(1) for number in range(9)}
    with pytest.raises(UserError, match="and 10 more") as error:  # 6 missing, 9 unexpected
        load_weights(network, weights, "x.pth")
    assert str(error.value).count(" is ") == 5
