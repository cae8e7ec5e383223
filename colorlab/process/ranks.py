"""Which of the processes that train one model this is. Imports nothing heavy."""

import os

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def is_first_process() -> bool:
    """Return whether this process has rank 0 among those that train one model: only it writes and prints."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)
