"""A search for the best run: an Optuna study, kept in a file of the sweep's folder."""

import io
import json
import logging
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from colorlab.errors import UserError, how_to_install, reason_of
from colorlab.library_internals import trial_id
from colorlab.runs.folder import RunFolder
from colorlab.sweeps.score import direction_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.storages import JournalStorage

log = logging.getLogger(__name__)

Space = Mapping[str, Any]
"""Optuna's distributions, by key."""

STUDY = "search"
"""The study's name in its file."""


class Search:
    """Choose the values of the next runs from the results of the runs before (TPE, Bergstra et al. 2011).

    The study is kept in `study.journal`: the same command in the same folder continues it. A trial that was
    running when the search was killed counts as failed, and its values are tried again.

    Args:
        folder: the sweep's.
        space: what to search, by key.
        metric: the logged value to optimize.
        trials: the number of runs, including those of an earlier start.
        at_once: the number of runs that the launcher runs in parallel.
        startup: the number of first runs with random values.
        seed: of the random draws.

    Raises:
        UserError: Optuna is missing, the metric has no direction, or the folder holds another search.
    """

    def __init__(
        self, folder: Path, space: Space, metric: str, trials: int, at_once: int = 1, startup: int = 10, seed: int = 0
    ) -> None:
        optuna = import_optuna()
        self.folder, self.space, self.metric, self.trials, self.at_once = folder, space, metric, trials, at_once
        self.picture, self.best_config = folder / "study.png", folder / "best.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        self.study: Study = _open_study(folder / "study.journal", direction_of(metric))
        self._check_unchanged({"metric": metric, "space": {key: str(kind) for key, kind in sorted(space.items())}})
        seed += len(self.study.trials)  # a continued search must not draw the same values again
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed)
        self._retry_interrupted()

    def _check_unchanged(self, subject: dict[str, Any]) -> None:
        before = self.study.user_attrs or subject
        for name, value in subject.items():
            if before.get(name, value) != value:
                raise UserError(
                    f"{self.folder} holds a search with another {name}, {before[name]}: choose another hydra.sweep.dir."
                )
            self.study.set_user_attr(name, value)

    def _retry_interrupted(self) -> None:
        from optuna.trial import TrialState

        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("folder"):  # its result was not written any more
                import_optuna().trial.Trial(self.study, trial_id(self.study, trial.number)).set_user_attr("folder", "")
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params)

    def left(self) -> int:
        """Return how many runs are still to be done."""
        return self.trials - sum(trial.state.is_finished() for trial in self._counted())

    def _counted(self) -> list[Any]:
        """Return the trials without those that were interrupted and are tried again."""
        return [trial for trial in self.study.trials if trial.user_attrs.get("folder") or not trial.state.is_finished()]

    def ask(self) -> "list[Trial]":
        """Return the next trials, at most `at_once`; their `params` are the values to use."""
        return [self.study.ask(dict(self.space)) for _ in range(min(self.at_once, self.left()))]

    def tell(self, trial: "Trial", folder: RunFolder, value: float) -> None:
        """Record the result of a run: its value, or that it was pruned or failed."""
        from optuna.trial import TrialState

        trial.set_user_attr("folder", folder.path.name)
        status = (folder.status() or {}).get("status")
        if status == "done" and math.isfinite(value):
            self.study.tell(trial, value)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if status == "pruned" else TrialState.FAIL)

    def all_failed(self) -> bool:
        """Return whether every run so far has failed."""
        from optuna.trial import TrialState

        return not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def save(self) -> str:
        """Draw the study, copy the best run's configuration, and return a few lines on the state of the search."""
        from optuna.trial import TrialState

        counted = self._counted()
        done, pruned, failed = (
            [trial for trial in counted if trial.state is state]
            for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        )
        counts = f"{len(done)} runs finished, {len(pruned)} pruned, {len(failed)} failed"
        if not done:
            return f"search: {counts}"
        draw_study(self.study, self.metric, self.picture)
        best = self.study.best_trial
        run = RunFolder(self.folder / best.user_attrs["folder"])
        shutil.copyfile(run.config, self.best_config)
        values = " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                          for key, value in best.params.items())  # fmt: skip
        return "\n".join((
            f"search: {counts}; the best {self.metric} is {best.value:.5g}, in {run.path}",
            f"  with {values}",
            f"  picture: {self.picture}   its configuration: {self.best_config}",
        ))  # fmt: skip


def import_optuna() -> Any:
    """Return the module optuna, with its messages below warnings switched off.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError(f"sweep=optuna needs Optuna: {how_to_install('optuna')}.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def load_trial(file: Path, number: int, pruner: "BasePruner") -> "Trial":
    """Return a trial of the study in `file`, for the process that trains its run."""
    optuna = import_optuna()
    study = optuna.load_study(study_name=STUDY, storage=_storage(file), pruner=pruner)
    return optuna.trial.Trial(study, trial_id(study, number))


def _open_study(file: Path, direction: str) -> "Study":
    """Open the study in a file, or begin one.

    Raises:
        UserError: the file is damaged.
    """
    import optuna

    _drop_torn_end(file)
    directions: dict[str, Literal["minimize", "maximize"]] = {"min": "minimize", "max": "maximize"}
    try:
        return optuna.create_study(
            study_name=STUDY, storage=_storage(file), load_if_exists=True, direction=directions[direction]
        )
    except Exception as error:  # Optuna does not check what it reads: KeyError, AssertionError, …
        raise UserError(f"{file} is damaged ({reason_of(error)}): choose another hydra.sweep.dir.") from error


def _drop_torn_end(file: Path) -> None:
    """Cut off what follows the last complete line of a journal, as a killed process or a full disk leaves it.

    Optuna would append the next line to it. The lines are JSON objects.
    """
    from optuna.storages.journal import JournalFileSymlinkLock

    if not file.is_file() or _complete(file) == file.stat().st_size:
        return
    lock = JournalFileSymlinkLock(str(file))
    lock.acquire()
    try:
        os.truncate(file, _complete(file))
    finally:
        lock.release()
    log.warning("%s did not end with a complete line: that line is left out.", file)


def _complete(file: Path) -> int:
    """Return how many bytes of a journal are complete lines, without broken ones at its end."""
    lines = file.read_bytes().splitlines(keepends=True)
    while lines and not (lines[-1].endswith(b"\n") and _is_json(lines[-1])):
        lines.pop()
    return sum(map(len, lines))


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _storage(file: Path) -> "JournalStorage":
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(file)))


def draw_study(study: "Study", metric: str, path: Path) -> None:
    """Draw the values of a study's finished runs, over their numbers and over each searched value."""
    from matplotlib import pyplot
    from optuna.visualization.matplotlib import plot_optimization_history, plot_slice

    pictures = []
    # Optuna warns that these functions are experimental, and sets equal limits if there is a single run.
    with warnings.catch_warnings(action="ignore"), pyplot.style.context("default"):
        for plot in (plot_optimization_history, plot_slice):
            axes: Any = plot(study, target_name=metric)
            figure = np.ravel(axes)[0].figure
            content = io.BytesIO()
            figure.savefig(content, dpi=100)
            pyplot.close(figure)
            pictures.append(Image.open(content).convert("RGB"))
    Image.fromarray(np.hstack([np.asarray(picture) for picture in pictures])).save(path)
