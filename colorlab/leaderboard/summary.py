"""The summary of a run for the leaderboard, read from its folder, however far the run has come."""

import json
import math
import os
import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml

from colorlab.config import GROUPS, check, conf_folder
from colorlab.config.words import key_of
from colorlab.errors import UserError, printable
from colorlab.files import natural_key
from colorlab.models.colorizer import Colorizer
from colorlab.plugins import conf_folders
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.runs.status import is_gone
from colorlab.train.experiment import ModelSwitches

Content = TypeVar("Content")

MARKS = ("status.json", "overrides.yaml", "metrics.csv")
"""Files that mark the folder of a run."""


@dataclass
class RunSummary:
    """What the leaderboard shows of one run.

    Args:
        folder: the run's.
        status: the status in its folder: running, done, failed, interrupted or pruned; "killed" if the status is
            running and the process has ended; "unfinished" if the folder has no status and not all epochs.
        reason: why the run failed or was stopped; empty otherwise.
        overrides: the overrides it was started with, by key.
        config: its configuration; empty if the run failed before it was written.
        metrics: {name: {epoch: value}}.
        seconds: the time from its start to its end, or to its last file.
        refused: whether it ended for a mistake in its command before it trained an epoch.
    """

    folder: RunFolder
    status: str
    reason: str
    overrides: dict[str, str]
    config: dict[str, Any]
    metrics: dict[str, dict[int, float]]
    seconds: float | None
    refused: bool = False

    @property
    def monitor(self) -> tuple[str, bool]:
        """The value that the best epoch is chosen by, and whether less of it is better."""
        best = (self.config.get("callbacks") or {}).get("best") or {}
        return printable(str(best.get("monitor", "val/loss"))), best.get("mode", "min") == "min"

    @cached_property
    def best_epoch(self) -> int | None:
        """The epoch with the best monitored value; None if there is none."""
        name, less_is_better = self.monitor
        values = {epoch: value for epoch, value in self.metrics.get(name, {}).items() if not math.isnan(value)}
        return (min if less_is_better else max)(values, key=values.__getitem__, default=None)

    def at_best(self, metric: str) -> float | None:
        """Return the value of a metric in the best epoch."""
        return None if self.best_epoch is None else self.metrics.get(metric, {}).get(self.best_epoch)

    @property
    def loss(self) -> float | None:
        """The loss in the best epoch, also if the best epoch is chosen by another value."""
        name, _ = self.monitor
        return self.at_best(name if name.endswith("loss") else "val/loss")

    def last(self, metric: str) -> float | None:
        """Return the last logged value of a metric."""
        return next(reversed(self.metrics.get(metric, {}).values()), None)

    @property
    def epochs(self) -> int:
        """The number of epochs trained so far."""
        return len(self.metrics.get("optim/lr") or self.metrics.get("train/loss") or {})

    @property
    def max_epochs(self) -> int | None:
        """The number of epochs planned."""
        planned = (self.config.get("trainer") or {}).get("max_epochs")
        return planned if isinstance(planned, int) else None

    @property
    def images_per_second(self) -> float | None:
        """The median of the epochs' training speeds."""
        speeds = self.metrics.get("speed/images_per_second")
        return statistics.median(speeds.values()) if speeds else None

    @property
    def parameters(self) -> int | None:
        """The number of the network's parameters; None if the network cannot be built here."""
        switches = {field.name for field in fields(ModelSwitches)}
        model = {key: value for key, value in (self.config.get("model") or {}).items() if key not in switches}
        return _count_parameters(json.dumps(model)) if model else None

    @property
    def model(self) -> str:
        """The name of its network: the choice that was typed, or else the one that its configuration stands for."""
        typed = self.overrides.get("model", "")
        target = (self.config.get("model") or {}).get("_target_")
        if re.fullmatch(r"[\w/.-]+", typed) or not isinstance(target, str):
            return typed
        return _models().get(_package_and_class(target)) or printable(target.rpartition(".")[2])

    def setting(self, key: str) -> str:
        """Return the value of a key in this run's configuration; "" if it has none that fits in a column."""
        if key == "model":
            return self.model
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or isinstance(value, Mapping):
            return self.overrides.get(key, "")
        return f"{value:g}" if isinstance(value, float) else printable(str(value))


@cache
def _models() -> dict[tuple[str, str], str]:
    """Return the choices of the group `model`, by the package and the name of the class that each stands for."""
    names: dict[tuple[str, str], str] = {}
    for folder in (conf_folder(), *conf_folders().values()):
        for file in sorted((folder / "model").glob("*.yaml")):
            content = _try(partial(_read_yaml, file))
            if isinstance(content, dict) and isinstance(target := content.get("_target_"), str):
                names.setdefault(_package_and_class(target), file.stem)
    return names


def _read_yaml(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _package_and_class(target: str) -> tuple[str, str]:
    return target.partition(".")[0], target.rpartition(".")[2]


@cache
def _count_parameters(model: str) -> int | None:
    """Build the network of a configuration, given as JSON, without allocating memory, and count its parameters."""
    try:
        plan = check(json.loads(model), "model")
        if not (isinstance(plan.target, type) and issubclass(plan.target, Colorizer)):
            return None
        with torch.device("meta"):
            network = plan.build()
    except Exception:  # the configuration may be another program's, or another version's
        return None
    return sum(weights.numel() for weights in network.parameters())


class NoRuns(UserError):
    """There is nothing to compare."""


def find_runs(folders: list[Path]) -> tuple[list[RunSummary], int]:
    """Return the summaries of all runs in the folders and below them, ordered by name, and how many are left out.

    Left out are runs that were refused for a mistake in their command before an epoch ended.

    Raises:
        UserError: a folder does not exist.
        NoRuns: none of them holds a run that is not left out.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give folders that hold runs.")
    found = {path.resolve(): path for folder in folders for path in _run_folders(folder)}
    runs = [read_run(RunFolder(path)) for path in sorted(found.values(), key=natural_key)]
    kept = [run for run in runs if not run.refused]
    if not kept:
        but = f" but {len(runs)} that were refused before they trained" if runs else ""
        raise NoRuns(f"There is no run in {', '.join(map(str, folders))}{but}.")
    return kept, len(runs) - len(kept)


def _run_folders(folder: Path) -> Iterator[Path]:
    for path, inner, files in os.walk(folder):
        if any(mark in files for mark in MARKS):
            inner.clear()  # a run's folder holds no other runs
            yield Path(path)


def read_run(folder: RunFolder) -> RunSummary:
    """Return the summary of a run; a file that cannot be read counts as missing."""
    status = _try(folder.status) or {}
    config = _try(folder.configuration) or {}
    config = {key: value for key, value in config.items() if key not in GROUPS or isinstance(value, Mapping)}
    metrics = _try(partial(read_metrics, folder)) or {}
    overrides = status.get("overrides") or _try(folder.overrides) or []
    words = [printable(word) for word in overrides if isinstance(word, str)]
    by_key = {key_of(word): word.partition("=")[2] for word in words}
    metrics = {printable(name): course for name, course in metrics.items()}
    state, reason = (
        printable(str(status.get(key) or other)) for key, other in (("status", "unfinished"), ("reason", ""))
    )
    run = RunSummary(
        folder,
        state,
        reason,
        by_key,
        config,
        metrics,
        _seconds(folder, status),
        status.get("error") == "UserError" and not metrics,
    )
    if "status" not in status and (run.epochs == run.max_epochs or "test/loss" in metrics):
        run.status = "done"
    if run.status == "running" and is_gone(status):
        run.status, run.reason = "killed", f"process {status['pid']} has ended without writing a status"
    return run


def _try(read: Callable[[], Content]) -> Content | None:
    try:
        return read()
    except Exception:  # the file is missing, truncated, or edited by hand
        return None


def _seconds(folder: RunFolder, status: dict[str, Any]) -> float | None:
    """Return a run's time by its status, or else between the writing of its configuration and of its last numbers."""
    written = [path.stat().st_mtime for path in (folder.metrics, folder.config) if path.exists()]
    began = _timestamp(status.get("started")) or min(written, default=None)
    ended = _timestamp(status.get("ended")) or max(written, default=None)
    return ended - began if began is not None and ended is not None and ended > began else None


def _timestamp(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None
