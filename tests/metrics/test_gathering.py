"""Arrays of different lengths, from all ranks to all ranks."""

import numpy as np
import torch

from lit_detseg.metrics.gathering import gather_arrays, is_distributed
from tests.metrics.ranks import count_collectives, results_of_ranks


def arrays_of(rank):
    return {
        "ids": np.array([f"image_{i}" for i in range(rank)], dtype=np.str_),
        "bits": np.full((rank, 2), rank, dtype=np.uint8),
        "scores": np.linspace(0, 1, 1000 * rank),
    }


def gather_on_a_rank(rank):
    counter = count_collectives()
    gathered = gather_arrays(arrays_of(rank))
    as_lists = [{name: array.tolist() for name, array in arrays.items()} for arrays in gathered]
    return {"gathered": as_lists, "dtype": str(gathered[0]["scores"].dtype), **counter}


def test_every_rank_gets_the_arrays_of_all_in_order(tmp_path):
    expected = [
        {name: array.tolist() for name, array in arrays_of(rank).items()} for rank in range(2)
    ]

    for result in results_of_ranks(gather_on_a_rank, world_size=2, folder=tmp_path):
        assert result == {"gathered": expected, "dtype": "float64", "all_gather": 2}


def test_a_single_process_has_nobody_to_gather_from():
    assert not torch.distributed.is_initialized()
    assert not is_distributed()
