"""A run as its folder tells it, however far it came."""

import json
import os
import socket
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from colorlab.command_line import key_of
from colorlab.config import check
from colorlab.errors import UserError
from colorlab.files import natural_key
from colorlab.models.colorizer import Colorizer
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.train.experiment import GROUPS

MARKS = ("status.json", "overrides.yaml", "metrics.csv")
"""A folder with one of these is a run's."""


@dataclass
class Run:
    """One run.

    Args:
        folder: where it is.
        status: running, done, failed, interrupted or pruned, as it said itself; killed if it said running
            and is not; unfinished if it said nothing and has epochs to go.
        reason: why it failed or was stopped, or nothing.
        overrides: what it was started with, by key.
        config: all of its configuration; empty if it failed before there was any.
        metrics: {name: {epoch: value}}.
        seconds: from its start to its end, or to its last sign of life.
    """

    folder: RunFolder
    status: str
    reason: str
    overrides: dict[str, str]
    config: dict[str, Any]
    metrics: dict[str, dict[int, float]]
    seconds: float | None

    @property
    def monitor(self) -> tuple[str, bool]:
        """What the best epoch is chosen by, and whether it should fall."""
        best = (self.config.get("callbacks") or {}).get("best") or {}
        return best.get("monitor", "val/loss"), best.get("mode", "min") == "min"

    @cached_property
    def best_epoch(self) -> int | None:
        name, falls = self.monitor
        course = {epoch: value for epoch, value in self.metrics.get(name, {}).items() if value == value}
        return (min if falls else max)(course, key=course.__getitem__, default=None)

    def at_best(self, metric: str) -> float | None:
        """The value of a metric in the best epoch."""
        return self.metrics.get(metric, {}).get(self.best_epoch)

    @property
    def loss(self) -> float | None:
        """The loss in the best epoch, also of a run whose best epoch is chosen by another number."""
        name, _ = self.monitor
        return self.at_best(name if name.endswith("loss") else "val/loss")

    def last(self, metric: str) -> float | None:
        return next(reversed(self.metrics.get(metric, {}).values()), None)

    @property
    def epochs(self) -> int:
        """How many it has trained."""
        return len(self.metrics.get("optim/lr") or self.metrics.get("train/loss") or {})

    @property
    def max_epochs(self) -> int | None:
        return (self.config.get("trainer") or {}).get("max_epochs")

    @property
    def images_per_second(self) -> float | None:
        speeds = self.metrics.get("speed/images_per_second")
        return statistics.median(speeds.values()) if speeds else None

    @property
    def parameters(self) -> int | None:
        """The network's; None where it cannot be built here."""
        model = {key: value for key, value in (self.config.get("model") or {}).items() if key != "weights"}
        return _count_parameters(json.dumps(model)) if model else None

    def setting(self, key: str) -> str:
        """What an override of this key was set to, in this run by default; "" where that has no short form."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or isinstance(value, Mapping):
            return self.overrides.get(key, "")
        return f"{value:g}" if isinstance(value, float) else str(value)


@cache
def _count_parameters(model: str) -> int | None:
    """Build the network that a configuration's JSON describes, on the device that allocates nothing."""
    try:
        plan = check(json.loads(model), "model")
        if not issubclass(plan.target, Colorizer):
            return None
        with torch.device("meta"):
            network = plan.build()
    except Exception:  # of another program, or of another version of this one
        return None
    return sum(weights.numel() for weights in network.parameters())


def find_runs(folders: list[Path]) -> list[Run]:
    """All runs in the folders and below them, in the order of their names.

    Raises:
        UserError: a folder does not exist, or none of them holds a run.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give folders that hold runs.")
    found = {path.resolve(): path for folder in folders for path in _run_folders(folder)}
    if not found:
        raise UserError(f"There is no run in {', '.join(map(str, folders))}.")
    return [read_run(RunFolder(path)) for path in sorted(found.values(), key=natural_key)]


def _run_folders(folder: Path) -> Iterator[Path]:
    for path, inner, files in os.walk(folder):
        if any(mark in files for mark in MARKS):
            inner.clear()  # what lies inside a run is its own
            yield Path(path)


def read_run(folder: RunFolder) -> Run:
    """Read what there is; a file that cannot be read is as good as missing."""
    told = _read(folder.path / "status.json", lambda _: folder.status()) or {}
    config = _read(folder.config, lambda _: folder.configuration()) or {}
    config = {key: value for key, value in config.items() if key not in GROUPS or isinstance(value, Mapping)}
    metrics = _read(folder.metrics, lambda _: read_metrics(folder)) or {}
    overrides = told.get("overrides") or _read(folder.path / "overrides.yaml", lambda _: folder.overrides()) or []
    by_key = {key_of(word): word.partition("=")[2] for word in overrides if isinstance(word, str)}
    run = Run(
        folder, told.get("status", "unfinished"), told.get("reason") or "", by_key, config, metrics,
        _seconds(folder, told),
    )  # fmt: skip
    if "status" not in told and (run.epochs == run.max_epochs or "test/loss" in metrics):
        run.status = "done"
    if run.status == "running" and _is_gone(told):
        run.status, run.reason = "killed", f"process {told['pid']} is gone and has not said why"
    return run


def _is_gone(told: dict[str, Any]) -> bool:
    """Whether the process of a run on this machine is no more; one on another machine is believed."""
    if told.get("host") != socket.gethostname() or not isinstance(told.get("pid"), int):
        return False
    try:
        os.kill(told["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it is somebody else's
        return False
    return False


def _read(path: Path, how: Any) -> Any:
    try:
        return how(path.read_text(encoding="utf-8"))
    except Exception:  # missing, cut off in the middle, or edited by hand
        return None


def _seconds(folder: RunFolder, told: dict[str, Any]) -> float | None:
    """By its status; without one, from the writing of its configuration to that of its last numbers."""
    files = [path.stat().st_mtime for path in (folder.metrics, folder.config) if path.exists()]
    began = _moment(told.get("started")) or min(files, default=None)
    ended = _moment(told.get("ended")) or max(files, default=None)
    return ended - began if began is not None and ended is not None and ended > began else None


def _moment(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None
