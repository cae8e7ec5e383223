"""`sweep=optuna`: Hydra's side of a search. Hydra imports this at every start: nothing heavy at the top."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

ConfigStore.instance().store(
    group="hydra/sweeper", name="optuna", node={"_target_": f"{__name__}.OptunaSweeper"}, provider="colorlab"
)


class OptunaSweeper(Sweeper):
    """Asks the search for values, gives them to the launcher, and tells the search how the runs did.

    The launcher may be any; what is searched stands in `sweep.space` in Hydra's words (`choice`, `range`,
    `interval`, `tag(log, …)`), and the command's own overrides win over it.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from colorlab.errors import UserError
        from colorlab.sweeps.search import Search, import_optuna
        from colorlab.sweeps.settings import SearchSettings, check_settings

        import_optuna()
        settings = check_settings(OmegaConf.to_container(self.config.sweep, resolve=True))
        if not isinstance(settings, SearchSettings):
            raise UserError("sweep=optuna needs sweep.space: what to search, by key.")
        folder = Path(self.config.hydra.sweep.dir)
        fixed, space = self._split(arguments, settings.space)
        self.validate_batch_is_legal([[*fixed, *_words(values)] for values in _samples(space)])
        search = Search(
            folder, space, settings.metric, settings.trials, settings.at_once, settings.startup, settings.seed
        )
        OmegaConf.save(self.config, folder / "multirun.yaml")
        while search.left() > 0:
            trials = search.ask()
            jobs = [[*fixed, *_words(trial.params), f"sweep.trial={trial.number}"] for trial in trials]
            results = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
            for trial, result in zip(trials, results, strict=True):
                search.tell(trial, _folder(result), _value(result))
            print(search.save(), flush=True)
            if search.fruitless() and all(map(_mistaken, results)):
                return  # all others would end like these, which Sweep reports

    def _split(self, arguments: list[str], searched: dict[str, Any]) -> "tuple[list[str], dict[str, BaseDistribution]]":
        """The overrides that all runs share, and what to search."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = {override.key_or_group: override for override in parser.parse_overrides(arguments)}
        space = {
            override.key_or_group: override
            for override in parser.parse_overrides([f"{key}={words}" for key, words in searched.items()])
        } | overrides
        fixed = [override.input_line for override in overrides.values() if not override.is_sweep_override()]
        return fixed, {key: _distribution(override) for key, override in space.items() if override.is_sweep_override()}


def _distribution(override: Override) -> "BaseDistribution":
    """What a sweep in Hydra's words means to Optuna."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep: Any = override.value()
    log = "log" in sweep.tags
    if isinstance(sweep, IntervalSweep):
        whole = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        return (IntDistribution if whole else FloatDistribution)(sweep.start, sweep.end, log=log)
    if isinstance(sweep, RangeSweep) and not log:
        values = list(sweep.range())
        whole = all(isinstance(value, int) for value in values)
        kind = IntDistribution if whole else FloatDistribution
        return kind(min(values), max(values), step=abs(sweep.step))
    assert isinstance(sweep, ChoiceSweep | RangeSweep)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _samples(space: "dict[str, BaseDistribution]") -> list[dict[str, Any]]:
    """Values that name each choice once: what cannot be composed must show before the first run."""
    choices = {key: getattr(kind, "choices", None) or [kind.low] for key, kind in space.items()}
    first = {key: values[0] for key, values in choices.items()}
    return [first, *(first | {key: value} for key, values in choices.items() for value in values[1:])]


def _words(values: dict[str, Any]) -> list[str]:
    """Overrides; as `colorlab.train` frees dotted keys that their YAML does not list."""
    return [f"{'++' if '.' in key else ''}{key}={value}" for key, value in values.items()]


def _folder(result: JobReturn) -> Any:
    from colorlab.runs.folder import RunFolder

    return RunFolder(result.hydra_cfg.hydra.runtime.output_dir)


def _mistaken(result: JobReturn) -> bool:
    return (_folder(result).status() or {}).get("error") == "UserError"


def _value(result: JobReturn) -> float:
    value = result.return_value if result.status is JobStatus.COMPLETED else None
    return math.nan if value is None else value
