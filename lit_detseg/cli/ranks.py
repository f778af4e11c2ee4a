"""Which process of several speaks, before any process group exists."""

import os


def is_rank_zero() -> bool:
    """Whether this process is the only one, or the first of those that a launcher started."""
    # A process that Lightning starts inside of a SLURM task has that task's SLURM_PROCID.
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next(filter(None, ranks), "0") == "0"
