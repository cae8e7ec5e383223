"""A sweep: many runs of one command, what their folders are called, and what became of them."""

import atexit
import multiprocessing
import os
import re
import shlex
import shutil
import signal
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from colorlab.command_line import key_of, leave
from colorlab.errors import UserError, did_you_mean
from colorlab.runs.folder import RunFolder

LONGEST_NAME = 120
NEVER_IN_A_NAME = ("sweep", "sweep.trial")
SEARCH_KEYS = ("metric", "trials", "at_once", "startup", "seed", "trial", "space")


class Sweep(Callback):
    """What Hydra calls before the first job of a multirun and after the last: names, and the report."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Leave out of the folders' names what all jobs have in common, and remember what was there before."""
        try:
            _check_cluster(config)
            _check_folder(config)
        except UserError as error:
            leave(error)
        parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        constant = [override.key_or_group for override in parsed if not override.is_sweep_override()]
        excluded = sorted({*config.hydra.job.config.override_dirname.exclude_keys, *constant, *NEVER_IN_A_NAME})
        with read_write(config), open_dict(config):  # jobs are composed of Hydra's own overrides, and theirs
            words = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(excluded)}]"
            config.hydra.overrides.hydra.append(words)
        self.folder = Path(config.hydra.sweep.dir)
        self.earlier = {path: status["started"] for path, status in statuses(self.folder).items()}
        atexit.register(self.report_early)  # a launcher raised, on a signal or for a lost process: no one else calls

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Name every job that did not end well, and leave with their exit code."""
        atexit.unregister(self.report_early)
        if code := self.report():
            sys.exit(code)

    def report_early(self) -> None:
        """Report a sweep that did not come to its end, and so to no leaderboard."""
        self.report()
        if any(status["status"] == "done" for status in statuses(self.folder).values()):
            words = f"python -m colorlab.leaderboard {shlex.quote(str(self.folder))}"
            print(f"  those that are done: {words}", file=sys.stderr)

    def report(self) -> int:
        """Print a line on each job that did not end well.

        Returns:
            The exit code: 0 if all ended well, 2 if whoever typed the command can mend it all, else 1.
        """
        jobs = {
            path: status
            for path, status in statuses(self.folder).items()
            if self.earlier.get(path) != status["started"]
        }
        lost = {path: status for path, status in jobs.items() if status["status"] not in ("done", "pruned")}
        if not lost:
            return 0
        print(f"colorlab: {len(lost)} of {len(jobs)} jobs in {self.folder} did not end well:", file=sys.stderr)
        for reason, names in _by_reason(lost).items():
            print(f"  {', '.join(names)}: {reason}", file=sys.stderr)
        return 2 if all(status["error"] == "UserError" for status in lost.values()) else 1


def statuses(folder: Path) -> dict[str, dict[str, Any]]:
    """How the jobs of a sweep stand, {name of the job's folder: status}, in their order."""
    paths = sorted(folder.glob("*/status.json"), key=lambda path: (_number(path.parent.name), path.parent.name))
    return {path.parent.name: RunFolder(path.parent).status() for path in paths}


def _by_reason(jobs: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """The names of jobs, those with one reason together."""
    names = defaultdict(list)
    for name, status in jobs.items():
        killed = f"never said how it ended: process {status['pid']} on {status['host']} was killed, or still runs"
        names[killed if status["status"] == "running" else status["reason"]].append(name)
    return names


def _number(name: str) -> int:
    found = re.match(r"\d+", name)
    return int(found[0]) if found else -1


def _check_cluster(config: DictConfig) -> None:
    slurm = str(config.hydra.launcher._target_).endswith(".SlurmLauncher")
    if slurm and shutil.which("srun") is None:
        raise UserError(
            "hydra/launcher=submitit_slurm needs a SLURM cluster, and there is no srun here:"
            " run it on a login node, or choose hydra/launcher=submitit_local."
        )


def _check_folder(config: DictConfig) -> None:
    """Refuse to mix two sweeps; a search goes on in its folder, each time with runs of new numbers."""
    folder = Path(config.hydra.sweep.dir)
    if config.hydra.runtime.choices["hydra/sweeper"] != "optuna" and any(
        RunFolder(run).checkpoints.exist() or RunFolder(run).is_done() for run in folder.glob("*/")
    ):
        raise UserError(
            f"{folder} holds a sweep already: resume={folder}/RUN goes on with a run of it,"
            " another hydra.sweep.dir starts anew."
        )


# -- one job of a sweep ------------------------------------------------------------------------------


def job_name(overrides: Sequence[str], excluded: Sequence[str], otherwise: str) -> str:
    """What a job's folder is called: the overrides in which it differs, short and safe in a file name.

    `model=cunet optim.lr=1e-3 model.activation=relu` is `cunet_lr1e-3_activation-relu`.

    Args:
        overrides: the job's.
        excluded: keys of those that say nothing.
        otherwise: its name if nothing is left.
    """
    told = {key_of(override): override.partition("=")[2] for override in overrides if key_of(override) not in excluded}
    ends = [key.rpartition(".")[2] for key in told]
    words = []
    for key, value in told.items():
        end = key.rpartition(".")[2]
        value = _short(re.sub(r"[^\w.,+-]+", "", value).strip(".,"))
        if "." not in key and value[:1].isalpha():
            words.append(value)  # a choice of a group says it all
        else:
            words.append((end if ends.count(end) == 1 else key) + ("-" if value[:1].isalpha() else "") + value)
    return "_".join(words)[:LONGEST_NAME] or otherwise


def _short(value: str) -> str:
    """A number that a search has drawn, to three digits."""
    return f"{float(value):.3g}" if len(value) > 8 and re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", value) else value


OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def file_job(cfg: DictConfig, hydra_cfg: DictConfig) -> None:
    """Let the tracker file a job under its sweep, and call it what its folder is called."""
    sweep, job = Path(hydra_cfg.sweep.dir), Path(hydra_cfg.runtime.output_dir)
    inside = os.path.relpath(sweep, hydra_cfg.runtime.cwd).removeprefix("runs/")
    if cfg.run.group is None:
        cfg.run.group = sweep.name if inside.startswith("..") else inside
    if not any(key_of(override) == "run.name" for override in hydra_cfg.overrides.task):
        cfg.run.name = job.name


def settle_in() -> None:
    """Let DataLoaders start their processes as everywhere, in the processes of joblib and submitit too."""
    if multiprocessing.get_start_method() == "loky":  # joblib's, which knows its own alone
        multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    if "SUBMITIT_EXECUTOR" in os.environ:  # SLURM signals all; each would do submitit's saving and queuing
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN))


def check_processes(trainer: Any, in_sweep: bool) -> None:
    """Refuse a Trainer whose further processes would keep their numbers to themselves, or each would sweep.

    Raises:
        UserError: they would.
    """
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher

    launcher, devices = trainer.strategy.launcher, trainer.num_devices
    by_slurm = f"hydra/launcher=submitit_slurm hydra.launcher.tasks_per_node={devices}"
    if isinstance(launcher, _MultiProcessingLauncher):  # copies of the loggers, which do not come back
        instead = f"trainer.devices=1 or {by_slurm} trainer.strategy=ddp" if in_sweep else "trainer.strategy=ddp"
        raise UserError(
            f"trainer.strategy=ddp_{launcher._start_method} loses what is logged, and how far the run has come,"
            f" with the processes it trains in: choose {instead}."
        )
    starts = in_sweep and isinstance(launcher, _SubprocessScriptLauncher) and devices > 1
    if starts and not trainer.strategy.cluster_environment.creates_processes_externally:
        raise UserError(
            f"trainer.strategy=ddp with {devices} devices starts the whole command again in each process,"
            f" and each would run the sweep: choose trainer.devices=1, or let SLURM start the processes: {by_slurm}."
        )


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check the keys of `sweep`: a search has more of them than a grid.

    Raises:
        UserError: an unknown key, or a metric that is no name.
    """
    known = SEARCH_KEYS if "space" in settings else ("metric",)
    for key in settings:
        if key not in known:
            raise UserError(f"Unknown key sweep.{key}: {did_you_mean(key, known, 'sweep.')}")
    if not isinstance(settings["metric"], str | None):
        raise UserError(f"sweep.metric={settings['metric']} must be a text: val/psnr.")


# -- the value that a sweep compares -----------------------------------------------------------------


def direction(metric: str) -> Literal["min", "max"]:
    """Whether a logged value should fall or rise.

    Raises:
        UserError: neither is better, or it is no value of a run.
    """
    from colorlab.metrics import SCALES

    stage, _, name = metric.partition("/")
    better = "lower" if name == "loss" else SCALES[name].better if name in SCALES else None
    logged = stage in ("val", "test") or metric == "train/loss"
    if not logged or better not in ("lower", "higher"):
        known = [f"val/{name}" for name in ("loss", *SCALES) if name == "loss" or SCALES[name].better != "nearer"]
        raise UserError(f"sweep.metric={metric} is nothing to compare runs by: {did_you_mean(metric, known)}")
    return "min" if better == "lower" else "max"


def best_value(folder: RunFolder, metric: str) -> float:
    """The best of a logged value's epochs; NaN where it was NaN in each.

    Raises:
        UserError: the run logged no such value.
    """
    from colorlab.loggers import read_metrics

    logged = read_metrics(folder)
    if metric not in logged:
        raise UserError(f"sweep.metric={metric} was not logged by the run; {did_you_mean(metric, logged)}")
    return best_of(logged[metric].values(), direction(metric))


def best_of(values: Iterable[float], direction: Literal["min", "max"]) -> float:
    """The least or the greatest of them, NaN left out; NaN if there is no other."""
    numbers = [value for value in values if value == value]
    return (min if direction == "min" else max)(numbers, default=float("nan"))
