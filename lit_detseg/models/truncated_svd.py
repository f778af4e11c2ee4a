"""Fully connected layers in two thinner ones: Fast R-CNN's truncated SVD (arXiv:1504.08083, 3.1).

Most of the time of judging 2000 RoIs with VGG-16 goes into fc6 and fc7. W, v x u, is replaced by
its best approximation of rank t, U_t (S_t V_t^T): t (u + v) weights instead of u v.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from lit_detseg.structures import UserError


@torch.no_grad()
def factorise(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Two layers in place of one: S_t V_t^T without a bias, then U_t with the layer's own.

    Args:
        layer: its weights are not changed.
        rank: singular values that are kept, the largest ones.

    Raises:
        UserError: when there are not so many.
    """
    most = min(layer.weight.shape)
    if not 1 <= rank <= most:
        raise UserError(
            f"A layer of {layer.in_features} x {layer.out_features} weights has {most} singular "
            f"values, and {rank} of them cannot be kept. Give a rank from 1 to {most}."
        )
    u, s, vt = torch.linalg.svd(layer.weight.float(), full_matrices=False)
    first, second = thin_layers(layer, rank)
    first.weight.copy_(s[:rank, None] * vt[:rank])
    second.weight.copy_(u[:, :rank])
    if layer.bias is not None:
        second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)


def thin_layers(layer: nn.Linear, rank: int) -> tuple[nn.Linear, nn.Linear]:
    """Two layers of the shapes that replace one, with new weights."""
    where: dict[str, Any] = {"device": layer.weight.device, "dtype": layer.weight.dtype}
    first = nn.Linear(layer.in_features, rank, bias=False, **where)
    return first, nn.Linear(rank, layer.out_features, bias=layer.bias is not None, **where)


@contextmanager
def factorised(layers: nn.Module, ranks: Sequence[int]) -> Iterator[None]:
    """Replace the first fully connected layers inside a module, until the block ends.

    Args:
        layers: for example a box head's; changed in place, and changed back.
        ranks: of the first `Linear` inside, of the second, and so on (1024 and 256 for fc6 and fc7
            of VGG-16 in section 4.4).

    Raises:
        UserError: when there are fewer such layers than ranks.
    """
    found = [(name, one) for name, one in layers.named_modules() if isinstance(one, nn.Linear)]
    if len(found) < len(ranks):
        raise UserError(
            f"{len(ranks)} ranks {list(ranks)} were given for {len(found)} fully connected layers. "
            "Give at most one for each."
        )
    originals = dict(found[: len(ranks)])
    pairs = zip(originals.items(), ranks, strict=True)
    thinner = {name: factorise(layer, rank) for (name, layer), rank in pairs}
    try:
        for name, module in thinner.items():
            layers.set_submodule(name, module)
        yield
    finally:
        for name, module in originals.items():
            layers.set_submodule(name, module)
