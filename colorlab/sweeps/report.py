"""What Hydra calls around a sweep: checks before the first job, and a report of failed jobs at the end."""

import atexit
import shlex
import shutil
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write

from colorlab.command_line import leave
from colorlab.errors import UserError, printable
from colorlab.files import natural_key
from colorlab.process.new_folders import remove_made_folder
from colorlab.runs.folder import RunFolder

NEVER_IN_A_NAME = ("sweep", "sweep.trial")
"""Overrides that are left out of the names of job folders."""

UNKNOWN = {
    "status": "unknown", "reason": "its status.json is not complete", "error": None, "started": None, "pid": "?",
    "host": "?",
}  # fmt: skip
"""The status of a job whose status.json is damaged."""


class Sweep(Callback):
    """Hydra's callback around a multirun: it shortens the jobs' names, and reports the jobs that failed."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check the sweep, leave what all jobs share out of their names, and note which runs existed before."""
        try:
            _check_cluster(config)
            _check_folder(config)
        except UserError as error:
            leave(error)
        parsed = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        constant = [override.key_or_group for override in parsed if not override.is_sweep_override()]
        excluded = sorted({*config.hydra.job.config.override_dirname.exclude_keys, *constant, *NEVER_IN_A_NAME})
        with read_write(config), open_dict(config):  # Hydra composes each job from these overrides and the job's own
            override = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(excluded)}]"
            config.hydra.overrides.hydra.append(override)
        self.folder = Path(config.hydra.sweep.dir)
        self.earlier = {name: status["started"] for name, status in statuses(self.folder).items()}
        # If the launcher raises, on a signal or for a lost process, Hydra does not call on_multirun_end.
        atexit.register(self.report_early)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Report the jobs that failed, and exit with their code."""
        atexit.unregister(self.report_early)
        if code := self.report():
            found = statuses(self.folder)
            if not any(_has_results(RunFolder(self.folder / name), status) for name, status in found.items()):
                remove_made_folder(self.folder)  # a mistake in the command leaves nothing behind
            sys.exit(code)

    def report_early(self) -> None:
        """Report a sweep that was interrupted, and how to get the leaderboard of its finished runs."""
        self.report()
        if any(status["status"] == "done" for status in statuses(self.folder).values()):
            command = f"python -m colorlab.leaderboard {shlex.quote(str(self.folder))}"
            print(f"  leaderboard of the finished runs: {command}", file=sys.stderr)

    def report(self) -> int:
        """Print the jobs that failed, one line per reason.

        Returns:
            The exit code: 0 if none failed, 2 if every failure is a mistake in the command, else 1.
        """
        jobs = {
            name: status
            for name, status in statuses(self.folder).items()
            if name not in self.earlier or self.earlier[name] != status["started"]
        }
        failed = {name: status for name, status in jobs.items() if status["status"] not in ("done", "pruned")}
        if not failed:
            return 0
        print(f"colorlab: {len(failed)} of {len(jobs)} jobs in {self.folder} did not end well:", file=sys.stderr)
        for reason, names in _by_reason(failed).items():
            print(printable(f"  {', '.join(names)}: {reason}"), file=sys.stderr)
        return 2 if all(_is_refused(status) for status in failed.values()) else 1


def statuses(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the statuses of a sweep's jobs, {name of the job's folder: status}, in the jobs' order."""
    paths = sorted((path.parent for path in folder.glob("*/status.json")), key=lambda path: natural_key(path.name))
    return {path.name: status for path in paths if (status := _status_of(RunFolder(path))) is not None}


def _status_of(folder: RunFolder) -> dict[str, Any] | None:
    """Return a job's status, with the values of `UNKNOWN` for what a damaged file lacks."""
    try:
        status = folder.status()
    except UserError as error:
        return UNKNOWN | {"reason": str(error).rstrip(".")}
    return None if status is None else UNKNOWN | status


def _is_refused(status: dict[str, Any]) -> bool:
    return status.get("error") == "UserError"


def _has_results(folder: RunFolder, status: dict[str, Any]) -> bool:
    """Return whether a job is worth keeping: it was not refused, or only when it had trained."""
    return not _is_refused(status) or folder.metrics.exists() or folder.checkpoints.exist()


def _by_reason(jobs: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Group the names of jobs by the reason that they failed for."""
    names = defaultdict(list)
    for name, status in jobs.items():
        no_end = f"has no end in its status: process {status['pid']} on {status['host']} was killed, or still runs"
        names[no_end if status["status"] == "running" else status["reason"]].append(name)
    return names


def _check_cluster(config: DictConfig) -> None:
    slurm = str(config.hydra.launcher._target_).endswith(".SlurmLauncher")
    if slurm and shutil.which("srun") is None:
        raise UserError(
            "hydra/launcher=submitit_slurm needs a SLURM cluster, and there is no srun here:"
            " run it on a login node, or choose hydra/launcher=submitit_local."
        )


def _check_folder(config: DictConfig) -> None:
    """Refuse a folder that holds a sweep; a search continues in its folder, with new job numbers."""
    folder = Path(config.hydra.sweep.dir)
    if config.hydra.runtime.choices["hydra/sweeper"] != "optuna" and any(
        RunFolder(run).checkpoints.exist() or RunFolder(run).is_done() for run in folder.glob("*/")
    ):
        raise UserError(
            f"{folder} holds a sweep already: continue a run of it with resume={folder}/RUN,"
            " or choose another hydra.sweep.dir."
        )
