"""The processes that a training runs in: those of Hydra's launchers, and those that a Trainer starts."""

import multiprocessing
import os
import signal
from typing import TYPE_CHECKING

from colorlab.errors import UserError
from colorlab.library_internals import process_start_method

if TYPE_CHECKING:
    from lightning import Trainer


def undo_launcher_settings() -> None:
    """Undo settings of joblib's and submitit's processes that would disturb the workers of a DataLoader."""
    if multiprocessing.get_start_method() == "loky":  # joblib sets its own method, which starts no other processes
        multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    if "SUBMITIT_EXECUTOR" in os.environ:  # SLURM signals every process, and each would save and requeue the job
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN))


def check_processes(trainer: "Trainer", in_sweep: bool) -> None:
    """Refuse a Trainer whose further processes would lose what they log, or would each run the sweep.

    Raises:
        UserError: the strategy spawns or forks, or starts the command again in a sweep; or a callback unfreezes
            weights, whose gradients DDP would not average.
    """
    from lightning.pytorch.callbacks import BaseFinetuning

    method, devices = process_start_method(trainer), trainer.num_devices
    by_slurm = f"hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node={devices}"
    if method not in (None, "command"):  # such processes log to copies of the loggers, which are thrown away
        instead = f"trainer.devices=1 or {by_slurm} trainer.strategy=ddp" if in_sweep else "trainer.strategy=ddp"
        raise UserError(
            f"trainer.strategy=ddp_{method} loses what is logged, and how far the run has come,"
            f" with the processes it trains in: choose {instead}."
        )
    starts = in_sweep and method == "command" and devices > 1
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if starts and not (environment and environment.creates_processes_externally):
        raise UserError(
            f"trainer.strategy=ddp with {devices} devices starts the whole command again in each process,"
            f" and each would run the sweep: choose trainer.devices=1, or let SLURM start the processes: {by_slurm}."
        )
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # set by Lightning's callback connector
        if isinstance(callback, BaseFinetuning) and trainer.world_size > 1:
            raise UserError(
                f"{type(callback).__name__} works in one process, since DDP does not average the gradients of weights"
                " that are unfrozen later: trainer.devices=1, or model.freeze=[…] and later resume=RUN model.freeze=[]."
            )
