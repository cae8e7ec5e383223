"""The sweeper of `sweep=optuna`. Hydra imports this module at every start, so it imports nothing heavy at the top."""

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

    from colorlab.runs.folder import RunFolder

ConfigStore.instance().store(
    group="hydra/sweeper", name="optuna", node={"_target_": f"{__name__}.OptunaSweeper"}, provider="colorlab"
)


class OptunaSweeper(Sweeper):
    """Run a search: get values from the study, launch their runs, and record the results.

    Any launcher may be used. `sweep.space` holds the values to search in Hydra's syntax (`choice`, `range`,
    `interval`, `tag(log, …)`); overrides in the command take precedence over it.
    """

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        from colorlab.errors import UserError
        from colorlab.metrics import metric_names
        from colorlab.sweeps.search import Search, import_optuna
        from colorlab.sweeps.settings import SearchSettings, check_settings

        import_optuna()
        metric_names(OmegaConf.to_container(self.config)["metrics"])  # a plugin's may be the one to search by
        settings = check_settings(OmegaConf.to_container(self.config.sweep, resolve=True))
        if not isinstance(settings, SearchSettings):
            raise UserError("sweep=optuna needs sweep.space, the values to search by key.")
        folder = Path(self.config.hydra.sweep.dir)
        fixed, space = self._fixed_and_searched(arguments, settings.space)
        self.validate_batch_is_legal([[*fixed, *_overrides(values)] for values in _samples(space)])
        search = Search(
            folder, space, settings.metric, settings.trials, settings.at_once, settings.startup, settings.seed
        )
        OmegaConf.save(self.config, folder / "multirun.yaml")
        while search.left() > 0:
            trials = search.ask()
            jobs = [[*fixed, *_overrides(trial.params), f"sweep.trial={trial.number}"] for trial in trials]
            results = self.launcher.launch(jobs, initial_job_idx=trials[0].number)
            for trial, result in zip(trials, results, strict=True):
                search.tell(trial, _folder(result), _value(result))
            print(search.save(), flush=True)
            if search.all_failed() and all(map(_has_user_error, results)):
                return  # the other runs would fail for the same reason, which the callback Sweep reports

    def _fixed_and_searched(
        self, arguments: list[str], searched: dict[str, Any]
    ) -> "tuple[list[str], dict[str, BaseDistribution]]":
        """Return the overrides that all runs share, and the distributions to search, by key."""
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        overrides = {override.key_or_group: override for override in parser.parse_overrides(arguments)}
        space = {
            override.key_or_group: override
            for override in parser.parse_overrides([f"{key}={sweep}" for key, sweep in searched.items()])
        } | overrides
        fixed = [override.input_line for override in overrides.values() if not override.is_sweep_override()]
        swept = {key: override for key, override in space.items() if override.is_sweep_override()}
        return fixed, {key: distribution_of(override) for key, override in swept.items()}


def distribution_of(override: Override) -> "BaseDistribution":
    """Return Optuna's distribution for a sweep in Hydra's syntax."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep: Any = override.value()
    log = "log" in sweep.tags
    if isinstance(sweep, IntervalSweep):
        integers = isinstance(sweep.start, int) and isinstance(sweep.end, int)
        return (IntDistribution if integers else FloatDistribution)(sweep.start, sweep.end, log=log)
    if isinstance(sweep, RangeSweep) and not log:
        values = list(sweep.range())
        kind = IntDistribution if all(isinstance(value, int) for value in values) else FloatDistribution
        return kind(min(values), max(values), step=abs(sweep.step))
    assert isinstance(sweep, ChoiceSweep | RangeSweep)
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _samples(space: "dict[str, BaseDistribution]") -> list[dict[str, Any]]:
    """Return sets of values that together contain each choice, to check before the first run that they compose."""
    choices = {key: getattr(kind, "choices", None) or [kind.low] for key, kind in space.items()}
    first = {key: values[0] for key, values in choices.items()}
    return [first, *(first | {key: value} for key, values in choices.items() for value in values[1:])]


def _overrides(values: dict[str, Any]) -> list[str]:
    """Return values as overrides; `++` allows dotted keys that their YAML file does not list."""
    return [f"{'++' if '.' in key else ''}{key}={value}" for key, value in values.items()]


def _folder(result: JobReturn) -> "RunFolder":
    from colorlab.runs.folder import RunFolder

    return RunFolder(result.hydra_cfg.hydra.runtime.output_dir)


def _has_user_error(result: JobReturn) -> bool:
    return (_folder(result).status() or {}).get("error") == "UserError"


def _value(result: JobReturn) -> float:
    value = result.return_value if result.status is JobStatus.COMPLETED else None
    return math.nan if value is None else value
