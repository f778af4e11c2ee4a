"""Local response normalisation against torch's, and against Caffe's formula by hand."""

import pytest
import torch
from torch import nn

from lit_detseg.models.backbones.response_norm import ResponseNorm


def test_across_channels_it_is_torch_s():
    x = torch.randn(2, 11, 3, 4) * 50
    expected = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)(x)
    torch.testing.assert_close(ResponseNorm(5, alpha=1e-4)(x), expected)


def test_within_a_channel_nine_places_count_zeros_beyond_the_border_too():
    """alpha = 9, beta = 1: y = x / (1 + sum of squares). In the corner 1^2 + 2^2 + 4^2 + 5^2."""
    x = torch.tensor([[[[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]]])
    y = ResponseNorm(3, alpha=9.0, beta=1.0, region="within_channel")(x)
    assert y[0, 0, 0, 0].item() == pytest.approx(1 / (1 + 1 + 4 + 16 + 25))
    assert y[0, 0, 1, 1].item() == pytest.approx(5 / (1 + 285))


def test_channels_do_not_mix_within_a_channel():
    x = torch.randn(1, 2, 5, 5)
    norm = ResponseNorm(3, alpha=1.0, region="within_channel")
    assert norm(x)[:, :1].equal(norm(x[:, :1]))


@pytest.mark.parametrize("region", ["across_channels", "within_channel"])
def test_squares_do_not_overflow_in_half_precision(region):
    x = torch.full((1, 5, 3, 3), 1000.0, dtype=torch.float16)
    y = ResponseNorm(3, alpha=1e-4, region=region)(x)
    assert y.dtype == torch.float16
    assert (y > 10).all()  # 1000 / (1 + 100)^0.75 = 31, where 1000^2 is infinite


@pytest.mark.parametrize("region", ["across_channels", "within_channel"])
def test_an_empty_batch_stays_one(region):
    x = torch.zeros(0, 4, 3, 3, requires_grad=True)
    y = ResponseNorm(3, alpha=1e-4, region=region)(x)
    y.sum().backward()
    assert y.shape == x.grad.shape == x.shape
