"""Real processes that talk over gloo."""

import time
from collections import Counter

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

COLLECTIVES = [
    *("all_gather", "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all"),
    *("barrier", "broadcast", "broadcast_object_list", "gather", "gather_object", "reduce"),
]
LIMIT = 90  # seconds


def results_of_ranks(function, world_size, folder, start_method="fork"):
    """What `function(rank)` returns in each of `world_size` processes.

    Forked, like a loader's workers, they need not import anything again; autograd, though, does
    not survive a fork.
    """
    context = mp.start_processes(
        _run,
        (function, world_size, str(folder)),
        nprocs=world_size,
        join=False,
        start_method=start_method,
    )
    deadline = time.monotonic() + LIMIT
    while not context.join(timeout=1):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            raise TimeoutError(f"{world_size} ranks did not finish in {LIMIT} seconds.")
    return [torch.load(folder / f"{rank}.pt") for rank in range(world_size)]


def count_collectives():
    """A counter that goes up, from now on, with every collective of this process."""
    counter = Counter()

    def counted(name, function):
        def call(*args, **kwargs):
            counter[name] += 1
            return function(*args, **kwargs)

        return call

    for name in COLLECTIVES:
        setattr(dist, name, counted(name, getattr(dist, name)))
    return counter


def _run(rank, function, world_size, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
    )
    torch.save(function(rank), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
