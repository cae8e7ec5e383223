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

from colorlab import plugins
from colorlab.command_line import reporting, run
from colorlab.config import plain
from colorlab.errors import Interrupted, Preempted, Pruned, Stopped, UserError, printable, sentence_of
from colorlab.files import relative
from colorlab.process.open_files import enough_open_files
from colorlab.runs.folder import RunFolder
from colorlab.runs.lock import locked
from colorlab.runs.origin import command_of, typed_command
from colorlab.runs.overrides import in_todays_names, with_recorded_overrides
from colorlab.runs.status import Status, is_first_process
from colorlab.sweeps.names import file_job
from colorlab.train.experiment import KEYS, Experiment
from colorlab.train.fit import train
from colorlab.train.processes import undo_launcher_settings
from colorlab.train.resume import unchanged_if_refused


def _job(cfg: DictConfig) -> float | None:
    """Train one run: the only one of the command, or one job of a sweep."""
    hydra_cfg = HydraConfig.get()
    in_sweep = hydra_cfg.mode is RunMode.MULTIRUN
    folder = RunFolder(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    if in_sweep:
        file_job(cfg, hydra_cfg)
        undo_launcher_settings()
    logging.raiseExceptions = False  # on a full disk, no traceback for each line of train.log
    status = Status(folder, command_of(overrides) if in_sweep else typed_command(), overrides)
    try:
        return _train_alone(cfg, folder, status, in_sweep)
    except Exception as error:
        if not in_sweep:
            raise
        _print_failure(error, folder)
        return math.nan  # the other jobs go on; the sweep's report names this one at the end
    except Preempted:
        from colorlab.callbacks.requeue import requeue

        requeue()
        raise
    except Interrupted as stop:
        if is_first_process():
            resumable = folder.checkpoints.exist() or folder.never_saved()
            hint = f": resume={relative(folder.path)} continues it" if resumable else ""
            print(f"colorlab: {stop.reason}{hint}.", file=sys.stderr, flush=True)
        stop.printed = True
        if "SUBMITIT_EXECUTOR" in os.environ:  # SLURM kills the data workers now, and each death would raise here
            sys.stdout.flush()
            os._exit(int(stop.code or 1))
        raise
    finally:
        if in_sweep:
            free_memory()


def _train_alone(cfg: DictConfig, folder: RunFolder, status: Status, in_sweep: bool) -> float | None:
    """Train as the folder's only process, keep its status, and stop on signals."""
    from colorlab.callbacks.interruption import Interruption

    interruption = Interruption(status)
    lock = locked(folder) if is_first_process() else nullcontext()
    unchanged = unchanged_if_refused(folder, status, in_sweep)  # within the lock: nobody else trains there
    kept = status.kept(in_sweep)
    with interruption.handling_signals(), lock, unchanged, kept, interruption.reporting_stop(), enough_open_files():
        return train(Experiment.of(plain(cfg)), folder, status, interruption, in_sweep)


def _print_failure(error: Exception, folder: RunFolder) -> None:
    """Print at once what is wrong with a job of a sweep; a defect of ours with its traceback."""
    if isinstance(error, UserError | Stopped | Pruned):
        print(printable(f"{relative(folder.path)}: {sentence_of(error)}"), file=sys.stderr, flush=True)
    else:
        logging.getLogger(__name__).exception("%s failed", relative(folder.path))


def free_memory() -> None:
    """Free a job's memory for the next: a model and its Trainer refer to each other, so only the collector does."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


@reporting()
def main() -> None:
    """Entry point of `colorlab-train`."""
    sys.argv[1:] = with_recorded_overrides(in_todays_names(plugins.take_typed(sys.argv[1:])))
    run("train", _job, KEYS)


if __name__ == "__main__":
    main()
