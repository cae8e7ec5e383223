"""Where a run's numbers go: always a CSV file, and the tracker of choice."""

import csv
import functools
import importlib.util
import json
import logging
import os
import secrets
import shlex
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import wandb
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from colorlab.errors import UserError
from colorlab.metrics import SCALES
from colorlab.run_folder import RunFolder, dispensable
from colorlab.whole import whole, write_whole

log = logging.getLogger(__name__)

Tracker = TypeVar("Tracker", bound=type[Logger])


class MetricsCSV(Logger):
    """One row an epoch in `metrics.csv`, that goes on after a resume.

    Lightning's CSVLogger deletes the file of the run it resumes; this one drops only the rows that
    come after the checkpoint, which will be written again.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.path = RunFolder(folder).metrics
        self._rows: dict[int, dict[str, float]] | None = None

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run's folder holds its configuration as a file."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self._rows is None:
            self._rows = {row: values for row, values in _read_rows(self.path).items() if row < (step or 0)}
        self._rows.setdefault(step or 0, {}).update(metrics)

    @rank_zero_only
    def save(self) -> None:
        if self._rows:
            columns = ["epoch", "step"]
            columns += sorted({name for row in self._rows.values() for name in row} - set(columns))
            # for now: each time all rows are written
            with dispensable(self.path), whole(self.path) as part, part.open("w", newline="") as file:
                table = csv.DictWriter(file, columns)
                table.writeheader()
                table.writerows({"step": step, **row} for step, row in sorted(self._rows.items()))

    def finalize(self, status: str) -> None:
        self.save()


def _read_rows(path: Path) -> dict[int, dict[str, float]]:
    if not path.exists():
        return {}
    try:
        with path.open(newline="") as file:
            return {
                int(row.pop("step")): {"epoch": int(row.pop("epoch"))}
                | {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            }
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is no table of a run's numbers: {error}.") from error


def read_metrics(folder: RunFolder) -> dict[str, dict[int, float]]:
    """The numbers of a run, {name: {epoch: value}}, from its `metrics.csv`."""
    metrics: dict[str, dict[int, float]] = defaultdict(dict)
    for row in _read_rows(folder.metrics).values():
        epoch = row.pop("epoch")
        for name, value in row.items():
            metrics[name][epoch] = value
    return dict(metrics)


# -- trackers that are lost --------------------------------------------------------------------------


TOLD = (
    "log_hyperparams", "log_metrics", "log_picture", "log_best", "after_save_checkpoint", "save", "finalize",
)  # fmt: skip
"""By what a tracker is told of a run."""


def losable(kind: Tracker) -> Tracker:
    """Let training go on without a tracker: what it raises is said once, and then it is told nothing more."""
    for name in TOLD:
        if hasattr(kind, name):
            setattr(kind, name, _unless_lost(getattr(kind, name)))
    begun = kind.experiment.fget
    kind.experiment = property(lambda self: None if self.lost else begun(self))  # Lightning asks a lost one for it too
    kind.lost = False
    return kind


def _unless_lost(method: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(method)
    def call(self: Logger, *args: Any, **kwargs: Any) -> None:
        if self.lost:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # of a network, a service, a disk: whatever a tracker may have
            self.lost = True
            reason = ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
            log.warning(
                "%s is lost (%s): training goes on without it, and metrics.csv has every number.", self.title, reason
            )

    return call


# -- tensorboard -------------------------------------------------------------------------------------


@losable
class TensorBoardInFolder(TensorBoardLogger):
    """A tensorboard logger that shows pictures."""

    title = "tensorboard"

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        _quiet_threads()

    def log_picture(self, name: str, path: Path, step: int, epoch: int | None = None) -> None:
        self.experiment.add_image(name, _pixels(path), step, dataformats="HWC")


@functools.cache
def _quiet_threads() -> None:
    """Let tensorboard's writing threads end without a traceback: what ended one is raised when it is told more."""
    say = threading.excepthook

    def call(args: threading.ExceptHookArgs) -> None:
        if not type(args.thread).__module__.startswith("tensorboard."):
            say(args)

    threading.excepthook = call


# -- wandb -------------------------------------------------------------------------------------------

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
        write_whole(file, drawn or secrets.token_hex(4))
    return file.read_text()


# -- mlflow ------------------------------------------------------------------------------------------

MLFLOW_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""Half a minute of asking again, or two for a server that hangs, in which a run does not train."""


@losable
class MLflowInFolder(MLFlowLogger):
    """An mlflow logger that keeps its run's id in the run's folder, so that a resume goes on in the same run.

    MLflow holds each parameter to its first value: of a resumed run's, only new ones are added.

    Args:
        folder: the run's folder.
        settings: Lightning's MLFlowLogger's.
    """

    title = "mlflow"

    def __init__(self, folder: RunFolder, **settings: Any) -> None:
        known = folder.mlflow_id.read_text() if folder.mlflow_id.exists() else None
        super().__init__(run_id=known, **settings)
        self.folder = folder

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        run = self.experiment.get_run(self.run_id)
        self.experiment.update_run(self.run_id, status="RUNNING")
        write_whole(self.folder.mlflow_id, self.run_id)
        super().log_hyperparams({key: value for key, value in _leaves(params) if key not in run.data.params})

    def log_picture(self, name: str, path: Path, step: int, epoch: int | None = None) -> None:
        self.experiment.log_image(self.run_id, _pixels(path), key=name, step=step, synchronous=True)


def _leaves(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def mlflow_logger(
    folder: str,
    experiment: str = "colorlab",
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
    uri: str | None = None,
) -> MLflowInFolder:
    """A logger to an mlflow server or database.

    Args:
        folder: the run's folder.
        experiment, name, group, tags, notes: how mlflow files the run.
        uri: the server's address; None is MLFLOW_TRACKING_URI, else a database in the current folder,
            where `mlflow server` finds it.

    Raises:
        UserError: mlflow is not installed, or does not answer there.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise UserError("logger=mlflow needs mlflow: pip install 'colorlab[mlflow]'.")
    for setting, value in MLFLOW_PATIENCE.items():
        os.environ.setdefault(setting, value)
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = uri or mlflow.get_tracking_uri()
    _check_answers(uri)
    logger = MLflowInFolder(
        RunFolder(folder), experiment_name=experiment, run_name=name, tracking_uri=uri,
        tags={"mlflow.note.content": notes or "", "group": group or "", "tags": ", ".join(tags or [])},
    )  # fmt: skip
    try:
        _ = logger.experiment
    except MlflowException as error:
        raise UserError(f"logger.mlflow.uri={uri}: {str(error).splitlines()[0]}") from error
    return logger


def _check_answers(uri: str) -> None:
    """Ask once: mlflow itself would ask again, as it should only when a server goes away while a run trains."""
    if not uri.startswith("http"):
        return
    try:
        urlopen(f"{uri.rstrip('/')}/health", timeout=10).close()
    except HTTPError:  # a server that wants to know who asks; mlflow will say
        pass
    except OSError as error:
        raise UserError(f"logger.mlflow.uri={uri} does not answer: {error}.") from error


# -- what trackers show ------------------------------------------------------------------------------


@rank_zero_only
def remember_trackers(loggers: list[Logger], folder: RunFolder) -> None:
    """Keep the addresses at which trackers show the run, for the leaderboard."""
    addresses = json.loads(folder.trackers.read_text()) if folder.trackers.exists() else {}
    for logger in loggers:
        if getattr(logger, "lost", False):
            continue
        if isinstance(logger, WandbLogger) and (address := getattr(logger.experiment, "url", None)):
            addresses["wandb"] = address
        elif isinstance(logger, MLflowInFolder) and logger._tracking_uri.startswith("http"):
            place = f"experiments/{logger.experiment_id}/runs/{logger.run_id}"
            addresses["mlflow"] = f"{logger._tracking_uri.rstrip('/')}/#/{place}"
    if addresses:
        folder.write_trackers(addresses)


def log_picture(loggers: list[Logger], name: str, path: Path, step: int, epoch: int | None = None) -> None:
    """Send a picture file to every tracker that shows pictures."""
    for logger in loggers:
        if hasattr(logger, "log_picture"):
            logger.log_picture(name, path, step, epoch)


def log_best(loggers: list[Logger], checkpoint: str, monitor: str | None, score: float | None) -> None:
    """Tell every tracker that shows it which checkpoint is the best, and its score by what it was monitored by."""
    for logger in loggers:
        if hasattr(logger, "log_best"):
            logger.log_best(checkpoint, monitor, score)


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def log_table(loggers: list[Logger], name: str, rows: list[dict[str, Any]]) -> None:
    """Send a table, a dict a row, to every tracker that shows tables."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_table(name, columns=list(rows[0]), data=[list(row.values()) for row in rows], step=0)


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
