"""A rank whose images hold nothing trains along: no `find_unused_parameters`, no wrong gradient."""

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.metrics.ranks import results_of_ranks
from tests.test_architectures import DETECTORS, NONE, PIXEL, PROPOSALS, SOME
from tests.tiny_detection import make_images

NO_PROPOSALS = [torch.zeros(0, 4)] * 2


def batch_of(rank):
    """Objects and proposals for rank 0; nothing at all for rank 1."""
    images = make_images([(64, 96), (50, 70)])
    if rank == 0:
        return images._replace(proposals=[PROPOSALS[0]] * 2), [SOME, PIXEL]
    return images._replace(proposals=NO_PROPOSALS), [NONE, NONE]


def gradients(detector, rank):
    """By name; those of an earlier call are forgotten."""
    detector.zero_grad()
    torch.manual_seed(rank)  # dropout
    torch.stack(list(detector(*batch_of(rank)).values())).sum().backward()
    return {name: p.grad.clone() for name, p in detector.named_parameters() if p.requires_grad}


def train_along(rank):
    """Of each architecture the gradients of this rank alone, and of both, in two steps."""
    results = {}
    for architecture, build in DETECTORS.items():
        alone = gradients(build(), rank)
        together = DistributedDataParallel(build())
        first, second = gradients(together, rank), gradients(together, rank)
        results[architecture.__name__] = {"alone": alone, "first": first, "second": second}
    return results


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return results_of_ranks(train_along, 2, tmp_path_factory.mktemp("ranks"), "spawn")


@pytest.mark.parametrize("architecture", [one.__name__ for one in DETECTORS])
def test_gradients_are_the_mean_over_ranks(ranks, architecture):
    busy, idle = (rank[architecture] for rank in ranks)
    for name, gradient in busy["alone"].items():
        mean = (gradient + idle["alone"][name]) / 2
        for step in ("first", "second"):
            for rank in (busy, idle):
                torch.testing.assert_close(rank[step][f"module.{name}"], mean, msg=name)
