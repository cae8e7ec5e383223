"""Requeue: a job that SLURM ends early is saved and queued again, and resumes."""

import os
import signal
import subprocess

from lightning import Trainer
from lightning.pytorch.trainer.states import TrainerFn

from colorlab.callbacks.interruption import GracefulStop
from colorlab.errors import Preempted, UserError
from colorlab.models.colorizer import Colorizer


class Requeue(GracefulStop):
    """Stop on SIGUSR1, in a training between two steps; the job is then queued again.

    Lightning's own handler saves at once, even within an optimizer's step. This one waits for the end of a step, so
    that the resumed job ends with the same weights as an uninterrupted one.

    Args:
        agree_every: number of steps between two agreements of several processes to stop, since SLURM does not signal
            all at once.

    Raises:
        UserError: SLURM has not started this process.
    """

    def __init__(self, agree_every: int = 8) -> None:
        if "SLURM_STEP_ID" not in os.environ:
            raise UserError(
                "trainer=slurm is for the processes that SLURM starts: srun python -m colorlab.train trainer=slurm …"
            )
        super().__init__(agree_every)

    def stop_reason(self) -> Preempted:
        return Preempted()

    def setup(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        if stage == TrainerFn.FITTING:
            signal.signal(signal.SIGUSR1, self.handle_signal)  # Lightning installs its own only if there is none


def requeue() -> None:
    """Queue this job again. SLURM ends it at once, so everything must have been written before."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]
    if os.environ["SLURM_PROCID"] == "0":
        print(f"SLURM takes the machine: saved, and queued again as job {job}.", flush=True)
        subprocess.run(["scontrol", "requeue", job], check=True)
