"""A logger to Weights & Biases: online for a user who is logged in, else offline."""

import logging
import os
import secrets
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from colorlab.files import write_text
from colorlab.library_internals import wandb_init_arguments
from colorlab.loggers.tracker import losable, read_id
from colorlab.metrics import direction
from colorlab.runs.folder import RunFolder

log = logging.getLogger(__name__)

TIMEOUTS = {"WANDB_INIT_TIMEOUT": "30", "WANDB_FINISH_TIMEOUT": "300", "WANDB_FINISH_TIMEOUT_RAISES": "true"}
"""Limits in seconds on starting a run, and on uploading the rest of it at the end; by default wandb waits for an
unreachable server for ever. What was not uploaded stays in the run's folder, for `wandb sync`."""


@losable
class WandbByEpoch(WandbLogger):
    """A wandb logger whose panels have epochs on their x-axis, and whose summary also holds the best values.

    Each metric is defined when it is first logged: a pattern such as `val/*` would conflict with the
    pattern that Lightning defines for all names.
    """

    title = "wandb"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if "anonymous" not in settings:
            wandb_init_arguments(self).pop("anonymous", None)  # Lightning passes None, and wandb warns of any value
        self._defined: set[str] = {"epoch"}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, started at the first access; offline if wandb cannot be reached."""
        try:
            return super().experiment
        except wandb.errors.Error as error:
            if wandb_init_arguments(self)["mode"] == "offline":
                raise
            reason = str(error).splitlines()[0]
            log.warning("wandb cannot be reached (%s): this run is kept offline, for `wandb sync`.", reason)
            wandb_init_arguments(self)["mode"] = "offline"
            wandb.teardown()  # wandb's process still holds the run that it failed to start
            return super().experiment

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if "epoch" in metrics:
            for name in metrics.keys() - self._defined:
                self.experiment.define_metric(name, step_metric="epoch", summary=summary_of(name))
                self._defined.add(name)
        super().log_metrics(metrics, step)

    def log_picture(self, name: str, path: Path, step: int, epoch: int | None = None) -> None:
        self.log_metrics({name: [wandb.Image(str(path))]} | ({} if epoch is None else {"epoch": epoch}), step)

    def log_best(self, checkpoint: str, monitor: str | None, score: float | None) -> None:
        scored = {} if monitor is None else {f"best/{monitor.rpartition('/')[2]}": score}
        self.experiment.summary.update({"best/checkpoint": checkpoint, **scored})


def summary_of(name: str) -> str | None:
    """Return the values of a metric that the summary holds: "last,min" or "last,max"; None for wandb's default."""
    best = direction(name)
    return best and f"last,{best}"


def wandb_logger(
    folder: str,
    project: str = "colorlab",
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
) -> WandbByEpoch:
    """Return a wandb logger that never prompts: online if the user is logged in, else offline.

    The wandb run's id is kept in the run's folder, so that a resume continues the same wandb run.

    Args:
        folder: the run's folder; wandb's files go there too.
        name: of the run; None means the name of its folder.
        project, group, tags, notes: how wandb files the run.
    """
    for setting, value in {"WANDB_SILENT": "true", **TIMEOUTS}.items():
        os.environ.setdefault(setting, value)
    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")
    return WandbByEpoch(
        save_dir=folder, project=project, name=name or Path(folder).name, group=group, tags=tags or [], notes=notes,
        id=_wandb_id(RunFolder(folder).wandb_id), resume="allow", mode=mode,
    )  # fmt: skip


@rank_zero_only
def _wandb_id(file: Path) -> str:
    """Return the id in the file, which is created if it is missing; processes other than the first need none."""
    known = read_id(file)
    if known is None:
        by_agent = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None
        known = by_agent or secrets.token_hex(4)
        write_text(file, known)
    return known


def finish_tracker(failed: bool) -> None:
    """Finish the wandb run, if there is one, so that the next job of a sweep starts its own."""
    if wandb.run is None:
        return
    folder = Path(wandb.run.dir).parent
    try:
        wandb.finish(exit_code=int(failed))
    except Exception as error:
        if isinstance(error, TimeoutError):
            command = f"wandb sync --include-online {shlex.quote(str(folder))}"
            log.warning("wandb did not upload all of this run in time; upload the rest with: %s", command)
        else:  # wandb's process has ended, and lost what it had not written
            log.warning("wandb lost a part of this run (%s); metrics.csv has every number.", type(error).__name__)
        with suppress(Exception):
            wandb.teardown(exit_code=int(failed))  # otherwise wandb tries again when Python exits
        wandb.run = None
