"""Which process of a job this is, as its launcher says in the environment. Imports nothing heavy."""

import os

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")


def is_first_process() -> bool:
    """Return whether this process has rank 0 among those that train one model: only it writes and prints."""
    return all(os.environ.get(rank, "0") == "0" for rank in RANKS)


def is_requeued() -> bool:
    """Return whether SLURM has started this job again: it goes on in its own folder."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
