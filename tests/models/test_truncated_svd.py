"""A layer in two thinner ones: what is kept, and that everything is put back."""

import pytest
import torch
from torch import nn

from lit_detseg.models.truncated_svd import factorise, factorised
from lit_detseg.structures import UserError


def test_all_singular_values_give_the_layer_itself():
    torch.manual_seed(0)
    layer, inputs = nn.Linear(6, 4), torch.randn(5, 6)
    torch.testing.assert_close(factorise(layer, 4)(inputs), layer(inputs))


def test_the_largest_singular_values_are_kept():
    """Diagonal weights 3, 2, 1 have these singular values: rank 2 forgets the third input."""
    layer = nn.Linear(3, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.diag(torch.tensor([1.0, 3.0, 2.0])))
        layer.bias.copy_(torch.tensor([10.0, 20.0, 30.0]))

    answer = factorise(layer, 2)(torch.ones(1, 3))

    torch.testing.assert_close(answer, torch.tensor([[10.0, 23.0, 32.0]]))


def test_t_times_u_plus_v_weights_take_the_place_of_u_times_v():
    """fc6 and fc7 of VGG-16 in the paper: ranks 1024 and 256."""
    with torch.device("meta"):
        fc6 = nn.Linear(25_088, 4096)
    thin = [1024 * (25_088 + 4096), 256 * (4096 + 4096)]
    assert sum(thin) / (fc6.weight.numel() + 4096 * 4096) == pytest.approx(0.267, abs=1e-3)
    layers = factorise(nn.Linear(40, 30), 5)
    assert sum(one.weight.numel() for one in layers) == 5 * (40 + 30)


def test_the_approximation_is_the_best_of_its_rank():
    """Eckart and Young: the error in the Frobenius norm is that of the values left out."""
    torch.manual_seed(0)
    layer = nn.Linear(12, 8, bias=False)
    first, second = factorise(layer, 3)
    error = (layer.weight - second.weight @ first.weight).norm()
    values = torch.linalg.svdvals(layer.weight)
    torch.testing.assert_close(error, values[3:].norm())


def test_layers_are_thin_inside_the_block_and_themselves_behind_it():
    layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
    before = dict(layers.named_parameters())

    def fail_inside():
        with factorised(layers, [2, 3]):
            assert layers[1][0].out_features == 2
            assert layers[3][0].out_features == 3
            raise RuntimeError("something fails inside")

    with pytest.raises(RuntimeError):
        fail_inside()

    after = dict(layers.named_parameters())
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)


def test_ranks_that_cannot_be_are_refused():
    with pytest.raises(UserError, match=r"40 x 30 weights has 30 singular values, and 31 of them"):
        factorise(nn.Linear(40, 30), 31)
    with (
        pytest.raises(UserError, match="2 ranks .* for 1 fully connected"),
        factorised(nn.Sequential(nn.Linear(3, 3)), [1, 1]),
    ):
        pass
