"""Requeue: a job that SLURM ends early is saved, queued again, and goes on."""

import os
import signal
import subprocess
from typing import Any

from lightning import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from colorlab.errors import Preempted, UserError
from colorlab.models.colorizer import Colorizer


class Requeue(Callback):
    """On SIGUSR1, stop between two batches; the checkpoint `last` is written, and the job queued again.

    Lightning's own handler saves at once, wherever training is, in the middle of an optimizer's step too.
    This one waits for the end of a batch, so the job goes on to the very weights of an undisturbed one.

    Args:
        agree_every: batches between two agreements of several processes; SLURM does not tell all at once.
    """

    def __init__(self, agree_every: int = 8) -> None:
        if "SLURM_STEP_ID" not in os.environ:
            raise UserError(
                "trainer=slurm is for the processes that SLURM starts: srun python -m colorlab.train trainer=slurm …"
            )
        self.agree_every, self.asked = agree_every, False

    def setup(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            signal.signal(signal.SIGUSR1, self._ask)  # Lightning leaves a handler that it finds

    def _ask(self, *_: Any) -> None:
        self.asked = True

    def on_train_batch_end(self, trainer: Trainer, model: Colorizer, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.world_size > 1 and batch_idx % self.agree_every:
            return
        if trainer.strategy.reduce_boolean_decision(self.asked, all=False):
            raise Preempted()


def requeue() -> None:
    """Queue this job again; SLURM ends it at once, so everything must be written before."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    if os.environ["SLURM_PROCID"] == "0":
        print(f"SLURM takes the machine: saved, and queued again as job {job}.", flush=True)
        subprocess.run(["scontrol", "requeue", job], check=True)
