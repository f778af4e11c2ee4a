"""Which process of several speaks, before any process group exists."""

import os


def is_rank_zero() -> bool:
    """Whether this process is the only one, or the first of those that a launcher started."""
    rank = os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK")
    return rank in (None, "0")
