"""Train one experiment, or a sweep of them: `python -m colorlab.train model=eccv16 optim.lr=1e-3`."""

import gc
import logging
import math
import os
import sys
from contextlib import nullcontext

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from colorlab.command_line import leave, run
from colorlab.config import plain
from colorlab.errors import Interrupted, Preempted, Pruned, Stopped, UserError, sentence_of
from colorlab.files import relative
from colorlab.runs.folder import RunFolder
from colorlab.runs.lock import locked
from colorlab.runs.origin import command_of, typed_command, words_again
from colorlab.runs.resume import with_run_of
from colorlab.runs.status import Status, is_first_process
from colorlab.sweeps.names import file_job
from colorlab.train.experiment import KEYS
from colorlab.train.processes import undo_launcher_settings
from colorlab.train.training import train


def _job(cfg: DictConfig) -> float | None:
    hydra_cfg = HydraConfig.get()
    in_sweep = hydra_cfg.mode is RunMode.MULTIRUN
    folder = RunFolder(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    if in_sweep:
        file_job(cfg, hydra_cfg)
        undo_launcher_settings()
    logging.raiseExceptions = False  # a full disk is said where it matters: a traceback a line of train.log is not
    status = Status(folder, command_of(overrides) if in_sweep else typed_command(), overrides)
    try:
        return _train_alone(cfg, folder, status, in_sweep)
    except Exception as error:
        if not in_sweep:
            raise
        _tell(error, folder)
        return math.nan  # the other jobs go on; Sweep reports this one at the end
    except Preempted:
        from colorlab.callbacks.requeue import requeue

        requeue()
        raise
    except Interrupted as left:
        if is_first_process():
            on = (
                f": resume={relative(folder.path)} goes on"
                if folder.checkpoints.exist() or folder.never_saved()
                else ""
            )
            print(f"colorlab: {left.reason}{on}.", file=sys.stderr, flush=True)
        if "SUBMITIT_EXECUTOR" in os.environ:  # SLURM ends the workers now, and each death would raise here
            sys.stdout.flush()
            os._exit(left.code)
        raise
    finally:
        if in_sweep:
            _free_memory()


def _train_alone(cfg: DictConfig, folder: RunFolder, status: Status, in_sweep: bool) -> float | None:
    """Train as the folder's only process, keep its status, and heed signals."""
    from colorlab.callbacks.interruption import Interruption

    interruption = Interruption(status)
    alone = locked(folder) if is_first_process() else nullcontext()
    with interruption.heeded(), alone, status.kept(in_sweep), interruption.not_forgotten():
        return train(plain(cfg), folder, status, interruption, in_sweep)


def _tell(error: Exception, folder: RunFolder) -> None:
    """Say at once what is wrong with a job of a sweep; a defect with its traceback."""
    if isinstance(error, UserError | Stopped | Pruned):
        print(f"{relative(folder.path)}: {sentence_of(error)}", file=sys.stderr, flush=True)
    else:
        logging.getLogger(__name__).exception("%s failed", relative(folder.path))


def _free_memory() -> None:
    """Leave nothing of a job to the next: a model and its Trainer know each other, so only the collector ends them."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def main() -> None:
    """Entry point of `colorlab-train`."""
    try:
        sys.argv[1:] = words_again(with_run_of(sys.argv[1:]))
    except UserError as error:
        leave(error)
    run("train", _job, KEYS)


if __name__ == "__main__":
    main()
