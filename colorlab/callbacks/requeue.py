"""Requeue: a job that SLURM ends early is saved, queued again, and goes on."""

import os
import signal
import subprocess

from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerFn

from colorlab.callbacks.interruption import Stopping
from colorlab.errors import Preempted, UserError
from colorlab.models.colorizer import Colorizer


class Requeue(Stopping):
    """On SIGUSR1, stop: in a training between two steps, after it at once. The job is queued again.

    Lightning's own handler saves at once, wherever training is, in the middle of an optimizer's step too.
    This one waits for the end of a batch, so the job goes on to the very weights of an undisturbed one.

    Args:
        agree_every: steps between two agreements of several processes; SLURM does not tell all at once.
    """

    def __init__(self, agree_every: int = 8) -> None:
        if "SLURM_STEP_ID" not in os.environ:
            raise UserError(
                "trainer=slurm is for the processes that SLURM starts: srun python -m colorlab.train trainer=slurm …"
            )
        super().__init__(agree_every)

    def reason(self) -> Preempted:
        return Preempted()

    def setup(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            signal.signal(signal.SIGUSR1, self._hear)  # Lightning leaves a handler that it finds


def requeue() -> None:
    """Queue this job again; SLURM ends it at once, so everything must be written before."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    if os.environ["SLURM_PROCID"] == "0":
        print(f"SLURM takes the machine: saved, and queued again as job {job}.", flush=True)
        subprocess.run(["scontrol", "requeue", job], check=True)
