"""A search: an Optuna study of a sweep's runs, kept in a file of the sweep's folder."""

import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder
from colorlab.sweeps.score import direction_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.pruners import BasePruner

Space = Mapping[str, Any]
"""Optuna's distributions, by key."""


class Search:
    """Which runs to try next, given how the ones before them did (TPE, Bergstra et al. 2011).

    The study lives in `study.journal`, so that the same command in the same folder goes on with it. A
    trial that was under way when the search was killed counts as failed, and its values are tried again.

    Args:
        folder: the sweep's.
        space: what to search, by key.
        metric: the logged value to make better.
        trials: how many runs in all, those of an earlier start included.
        at_once: runs that the launcher gets together.
        startup: runs whose values are drawn at random, and that are not stopped early.
        seed: of the draws.

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
        self.study: Study = optuna.create_study(
            study_name=STUDY, storage=_storage(journal(folder)), load_if_exists=True,
            direction={"min": "minimize", "max": "maximize"}[direction_of(metric)],
        )  # fmt: skip
        self._stay_with({"metric": metric, "space": {key: str(kind) for key, kind in sorted(space.items())}})
        # A search that goes on must not draw what it has drawn before.
        seed += len(self.study.trials)
        self.study.sampler = optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed)
        self._take_up()

    def _stay_with(self, subject: dict[str, Any]) -> None:
        before = self.study.user_attrs or subject
        for name, value in subject.items():
            if before[name] != value:
                raise UserError(
                    f"{self.folder} holds a search with another {name}, {before[name]}: choose another hydra.sweep.dir."
                )
            self.study.set_user_attr(name, value)

    def _take_up(self) -> None:
        from optuna.trial import TrialState

        for trial in self.study.get_trials(states=(TrialState.RUNNING,)):
            self.study.tell(trial.number, state=TrialState.FAIL)
            self.study.enqueue_trial(trial.params)

    def left(self) -> int:
        """How many runs are still to be done."""
        return self.trials - sum(trial.state.is_finished() for trial in self._counted())

    def _counted(self) -> list[Any]:
        """The trials, but for those that were cut off and tried again."""
        return [trial for trial in self.study.trials if trial.user_attrs.get("folder") or not trial.state.is_finished()]

    def ask(self) -> "list[Trial]":
        """The next runs to do, at most `at_once`; their `params` are the values to use."""
        return [self.study.ask(dict(self.space)) for _ in range(min(self.at_once, self.left()))]

    def tell(self, trial: "Trial", folder: RunFolder, value: float) -> None:
        """How a run did: its value, or that it was pruned or failed."""
        from optuna.trial import TrialState

        trial.set_user_attr("folder", folder.path.name)
        status = (folder.status() or {}).get("status")
        if status == "done" and math.isfinite(value):
            self.study.tell(trial, value)
        else:
            self.study.tell(trial, state=TrialState.PRUNED if status == "pruned" else TrialState.FAIL)

    def fruitless(self) -> bool:
        """Whether no run has come to a value so far."""
        from optuna.trial import TrialState

        return not self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))

    def save(self) -> str:
        """Draw the study, keep the best run's configuration, and say in a few lines how the search stands."""
        from optuna.trial import TrialState

        counted = self._counted()
        done, pruned, failed = (
            [trial for trial in counted if trial.state is state]
            for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        )
        counts = f"{len(done)} runs to their end, {len(pruned)} pruned, {len(failed)} failed"
        if not done:
            return f"search: {counts}"
        draw_study(self.study, self.metric, self.picture)
        best = self.study.best_trial
        run = RunFolder(self.folder / best.user_attrs["folder"])
        shutil.copyfile(run.config, self.best_config)
        values = " ".join(f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                          for key, value in best.params.items())  # fmt: skip
        return "\n".join((
            f"search: {counts}; the best {self.metric} is {best.value:.5g}, of {run.path}",
            f"  with {values}",
            f"  picture: {self.picture}   its configuration: {self.best_config}",
        ))  # fmt: skip


STUDY = "search"


def journal(folder: Path) -> Path:
    """The file that a sweep's study is kept in."""
    return folder / "study.journal"


def import_optuna() -> Any:
    """The module optuna, quiet.

    Raises:
        UserError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UserError("sweep=optuna needs Optuna: pip install 'colorlab[optuna]'.") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def load_trial(file: Path, number: int, pruner: "BasePruner") -> "Trial":
    """A trial of a study in the process that runs it."""
    optuna = import_optuna()
    study = optuna.load_study(study_name=STUDY, storage=_storage(file), pruner=pruner)
    return optuna.trial.Trial(study, study.trials[number]._trial_id)


def _storage(file: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(file)))


def draw_study(study: "Study", metric: str, path: Path) -> None:
    """Draw the values of a study's runs, in their order and over each searched value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution
    from optuna.trial import TrialState

    done = study.get_trials(states=(TrialState.COMPLETE,))
    pruned = [trial for trial in study.get_trials(states=(TrialState.PRUNED,)) if trial.intermediate_values]
    last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
    space = {name: kind for trial in done for name, kind in trial.distributions.items()}
    figure = Figure(figsize=(3.6 * (len(space) + 1), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    first, *others = figure.subplots(1, len(space) + 1, sharey=True, squeeze=False)[0]
    for axes, name in zip([first, *others], [None, *space], strict=True):
        for trials, values, marker, label in (
            (done, [trial.value for trial in done], "o", "to its end"), (pruned, last, "x", "pruned"),
        ):  # fmt: skip
            known = [(trial, value) for trial, value in zip(trials, values, strict=True)
                     if name is None or name in trial.params]  # fmt: skip
            places = [trial.number if name is None else trial.params[name] for trial, _ in known]
            if isinstance(space.get(name), CategoricalDistribution):
                places = [space[name].choices.index(place) for place in places]
            axes.plot(places, [value for _, value in known], marker, label=label, alpha=0.7)
        axes.set(xlabel=name or "run")
        if isinstance(space.get(name), FloatDistribution) and space[name].log:
            axes.set_xscale("log")
        if isinstance(space.get(name), CategoricalDistribution):
            axes.set_xticks(range(len(space[name].choices)), map(str, space[name].choices))
        axes.grid(alpha=0.3)
    first.step(*_best_so_far(done, max if study.direction.name == "MAXIMIZE" else min), where="post", label="best")
    first.xaxis.set_major_locator(MaxNLocator(integer=True))
    first.set(ylabel=metric)
    first.legend(frameon=False)
    figure.savefig(path, dpi=100)


def _best_so_far(done: list[Any], better: Any) -> tuple[list[int], list[float]]:
    numbers, values = [], []
    for trial in done:
        numbers.append(trial.number)
        values.append(better([*values[-1:], trial.value]))
    return numbers, values
