"""WandbByEpoch: Weights & Biases, online for whoever is logged in."""

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
from colorlab.loggers.tracker import losable
from colorlab.metrics import SCALES
from colorlab.runs.folder import RunFolder

log = logging.getLogger(__name__)

PATIENCE = {"WANDB_INIT_TIMEOUT": "30", "WANDB_FINISH_TIMEOUT": "300", "WANDB_FINISH_TIMEOUT_RAISES": "true"}
"""How many seconds wandb may take to begin a run, and to send the rest of it at the end; by itself it would wait for
an unreachable server for ever. What was not sent lies in the run's folder, for `wandb sync`."""


@losable
class WandbByEpoch(WandbLogger):
    """A wandb logger whose panels have epochs on their x-axis and whose summary holds the best values too.

    What it logs is defined when its name comes up first: a pattern such as `val/*` would compete with
    the one that Lightning defines for all names.
    """

    title = "wandb"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._defined: set[str] = {"epoch"}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The wandb run, begun now if there is none; offline where wandb cannot be reached."""
        try:
            return super().experiment
        except wandb.errors.Error as error:
            if self._wandb_init["mode"] == "offline":
                raise
            reason = str(error).splitlines()[0]
            log.warning("wandb cannot be reached (%s): this run is kept offline, for `wandb sync`.", reason)
            self._wandb_init["mode"] = "offline"
            wandb.teardown()  # its process still holds the run that it could not begin
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
    """What a run's summary holds of a metric beside its last value: the least or the greatest, if one is the best."""
    metric = name.rpartition("/")[2]
    better = "lower" if metric == "loss" else SCALES[metric].better if metric in SCALES else None
    return {"lower": "last,min", "higher": "last,max"}.get(better)


def wandb_logger(
    folder: str,
    project: str = "colorlab",
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
) -> WandbByEpoch:
    """A wandb logger that never asks: online for whoever is logged in, else offline.

    The run's id is kept in its folder, so that a resumed run goes on in the same wandb run.

    Args:
        folder: the run's folder; wandb's files go there too.
        project, name, group, tags, notes: how wandb files the run.
    """
    for setting, value in {"WANDB_SILENT": "true", **PATIENCE}.items():
        os.environ.setdefault(setting, value)
    mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False, verify=False) else "offline")
    return WandbByEpoch(
        save_dir=folder, project=project, name=name, group=group, tags=tags or [], notes=notes,
        id=_wandb_id(RunFolder(folder).wandb_id), resume="allow", mode=mode,
    )  # fmt: skip


@rank_zero_only
def _wandb_id(file: Path) -> str:
    """The run's id in the file, made now if there is none; the other processes, which log nothing, need none."""
    if not file.exists():
        drawn = os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None  # an agent has named it
        write_text(file, drawn or secrets.token_hex(4))
    return file.read_text()


def finish_tracker(failed: bool) -> None:
    """End the wandb run, if there is one: the next job of a sweep must begin its own."""
    if wandb.run is None:
        return
    place = shlex.quote(str(Path(wandb.run.dir).parent))
    try:
        wandb.finish(exit_code=int(failed))
    except Exception as error:
        if isinstance(error, TimeoutError):
            log.warning("wandb did not take all of this run in time: wandb sync --include-online %s sends it.", place)
        else:  # its process is gone, with what it had not yet written
            log.warning("wandb did not get all of this run (%s); metrics.csv has every number.", type(error).__name__)
        with suppress(Exception):
            wandb.teardown(exit_code=int(failed))  # else it would be tried again when Python ends
        wandb.run = None
