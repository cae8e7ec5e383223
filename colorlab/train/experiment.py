"""The experiment: a run's whole configuration, checked once and turned into one typed object."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import StrictBool, StrictInt

from colorlab.config import GROUPS, SETTINGS, Filing, Plan, check, check_arguments, check_filing, kind_of
from colorlab.errors import UserError, did_you_mean
from colorlab.sweeps.settings import GridSettings, SearchSettings, check_settings
from colorlab.train.consistency import check_together

PLANS = ("model", "optim", "schedule", "objective", "data", "trainer")
"""Groups that describe one object each."""

COLLECTIONS = ("callbacks", "logger")
"""Groups that describe several objects by name; null leaves one out."""


@dataclass(frozen=True)
class Settings:
    """What stands at the top level of conf/train.yaml beside the groups.

    Args:
        metrics: the metrics of each validation and of the test: names, and classes of plugins.
        seed: of the weights, the order and the augmentation.
        resume: a run's folder or a checkpoint to continue from.
        reproduce: a run's folder, to train that run again and report what differs.
        test: score the best checkpoint on the test photographs at the end.
        debug: one batch of everything.
    """

    metrics: list[str | dict[str, Any]]
    seed: StrictInt
    resume: str | None
    reproduce: str | None
    test: StrictBool
    debug: StrictBool

    def __post_init__(self) -> None:
        from colorlab.metrics import MEASURES

        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed={self.seed} must be a whole number from 0 to 2³² − 1: it makes a run repeatable.")
        for name in self.metric_names:
            if name not in MEASURES:
                raise UserError(f"metrics={name} is too slow for each validation: callbacks=evaluation measures it.")

    @cached_property
    def metric_names(self) -> list[str]:
        """The names of the metrics; the classes among them are built once."""
        from colorlab.metrics import metric_names

        return metric_names(self.metrics)


@dataclass(frozen=True)
class ModelSwitches:
    """Keys of the group `model` that say how to train the network, not how to build it.

    Args:
        compile: train with `torch.compile`d code.
        weights: a checkpoint to start from: ours, one in the authors' published layout, or its word, as eccv16.
        freeze: names of submodules that are not trained, such as [encoder], or patterns, such as [decoder.*.norm]; the
            statistics of their norms stay, too.
        encoder_lr: learning rate of the encoder relative to `optim.lr`; 0 freezes it. null: the network's own choice.
        encoder_weights: a file of pretrained weights for the encoder. null: those that are installed or cached.
    """

    compile: StrictBool = False
    weights: str | None = None
    freeze: list[str] | None = None
    encoder_lr: float | None = None
    encoder_weights: str | None = None

    def __post_init__(self) -> None:
        if self.encoder_lr is not None and self.encoder_lr < 0:
            raise UserError(f"model.encoder_lr={self.encoder_lr:g} must be 0 or more.")
        if self.encoder_weights and self.weights:
            raise UserError("model.weights holds the encoder's weights, too: leave out model.encoder_weights.")


@dataclass(frozen=True)
class OptimSwitches:
    """Keys of the group `optim` that are not the optimizer's.

    Args:
        decay_norms_and_biases: whether norms, biases and other parameters of one dimension take part in the weight
            decay.
    """

    decay_norms_and_biases: StrictBool = True


@dataclass(frozen=True)
class ScheduleSwitches:
    """Keys of the group `schedule` that every schedule takes.

    Args:
        unit: what times of the schedule count: epochs, or steps of the optimizer.
    """

    unit: Literal["epochs", "steps"] = "epochs"


@dataclass(frozen=True)
class TrainerSwitches:
    """Keys of the group `trainer` that are not Lightning's.

    Args:
        scale_batch: find the largest batch size that fits in memory.
    """

    scale_batch: StrictBool = False


KEYS = (*(group for group in GROUPS if group != "experiment"), *SETTINGS)
SWITCHES: dict[str, type] = {
    "model": ModelSwitches, "optim": OptimSwitches, "schedule": ScheduleSwitches, "trainer": TrainerSwitches,
}  # fmt: skip
GIVEN = {"optim": ("params",), "schedule": ("optimizer",)}
"""Arguments that are not configured: an optimizer's parameters, and the optimizer of a scheduler of torch's."""


@dataclass(frozen=True)
class Experiment:
    """One checked experiment: what to build, and how to train and file it.

    A command makes it once (`Experiment.of`); after that nobody reads the configuration. A change, such as
    the settings chosen for a machine, gives a new experiment (`with_arguments`), and `configuration` gives
    what is saved.
    """

    model: Plan
    optim: Plan
    schedule: Plan
    objective: Plan
    data: Plan
    trainer: Plan
    callbacks: Mapping[str, Plan]
    logger: Mapping[str, Plan]
    sweep: GridSettings | SearchSettings
    settings: Settings
    run: Filing
    model_switches: ModelSwitches = field(default_factory=ModelSwitches)
    optim_switches: OptimSwitches = field(default_factory=OptimSwitches)
    schedule_switches: ScheduleSwitches = field(default_factory=ScheduleSwitches)
    trainer_switches: TrainerSwitches = field(default_factory=TrainerSwitches)

    @classmethod
    def of(cls, cfg: Mapping[str, Any]) -> Self:
        """Check a configuration, and everything in it, before anything is built.

        Args:
            cfg: the resolved configuration in plain containers, as `colorlab.config.plain` returns it.

        Raises:
            UserError: the first thing that is wrong with it.
        """
        _check_keys(cfg)
        from colorlab.metrics import check_entries

        kinds = _kinds()
        switches: dict[str, Any] = {}
        plans: dict[str, Any] = {}
        for group, kind in SWITCHES.items():
            known = {each.name for each in fields(kind)}
            given = {key: value for key, value in cfg[group].items() if key in known}
            switches[f"{group}_switches"] = check_arguments(kind, given, group).build()
            node = {key: value for key, value in cfg[group].items() if key not in known}
            plans[group] = check(node, group, GIVEN.get(group, ()), kinds[group], known)
        for group in ("objective", "data"):
            plans[group] = check(cfg[group], group, kind=kinds[group])
        for group in COLLECTIONS:
            plans[group] = _check_collection(cfg[group] or {}, group, kinds[group])
        for name, plan in plans["callbacks"].items():
            _check_monitor(plan, f"callbacks.{name}")
        check_entries(cfg["metrics"])
        settings = check_arguments(Settings, {key: cfg[key] for key in SETTINGS if key != "run"}).build()
        sweep, run = check_settings(cfg["sweep"]), check_filing(cfg["run"])
        experiment = cls(**plans, **switches, sweep=sweep, settings=settings, run=run)
        check_together(experiment)
        return experiment

    def with_arguments(self, group: str, **arguments: Any) -> Self:
        """Return the experiment with other arguments for the object of one group."""
        return replace(self, **{group: getattr(self, group).with_arguments(**arguments)})

    def switches(self, group: str) -> dict[str, Any]:
        """Return the keys of a group that say how to train, those that are not the defaults."""
        if group not in SWITCHES:
            return {}
        given, standard = asdict(getattr(self, f"{group}_switches")), asdict(SWITCHES[group]())
        return {key: value for key, value in given.items() if value != standard[key]}

    def configuration(self) -> dict[str, Any]:
        """Return what is saved as the run's config.yaml: plain containers."""
        cfg: dict[str, Any] = {group: getattr(self, group).node() for group in PLANS}
        for group in COLLECTIONS:
            cfg[group] = {name: plan.node() for name, plan in getattr(self, group).items()}
        for group in SWITCHES:
            cfg[group] |= self.switches(group)
        return {**cfg, "sweep": asdict(self.sweep), **asdict(self.settings), "run": asdict(self.run)}


def _kinds() -> dict[str, Any]:
    """Return what each group's targets must make."""
    from torch.optim.lr_scheduler import LRScheduler

    from colorlab.models import Colorizer
    from colorlab.schedules import Schedule

    others = ("optim", "objective", "data", "trainer", "callbacks", "logger")
    return {"model": Colorizer, "schedule": Schedule | LRScheduler} | {group: kind_of(group) for group in others}


def _check_keys(cfg: Mapping[str, Any]) -> None:
    if "plugins" in cfg:
        raise UserError("plugins=[…] must be typed on the command line: a configuration file cannot bring code in.")
    for key in cfg:
        if key not in KEYS:
            raise UserError(f"Unknown key {key}: {did_you_mean(key, KEYS)}")
    for key in KEYS:
        if key not in cfg:
            raise UserError(f"{key} is missing: ~{key} removes what every experiment has.")
    for group in (*PLANS, *COLLECTIONS, "sweep"):
        if not isinstance(cfg[group], dict) and not (group in COLLECTIONS and cfg[group] is None):
            raise UserError(f"{group}={cfg[group]} must be one of its group's files, {group}=NAME.")


def _check_collection(group: Mapping[str, Any], path: str, kind: Any) -> dict[str, Plan]:
    nodes = {name: node for name, node in group.items() if node}
    known = [name for name, node in nodes.items() if isinstance(node, dict) and "_target_" in node]
    for name in nodes.keys() - known:
        raise UserError(f"Unknown key {path}.{name}: {did_you_mean(name, known, f'{path}.')}")
    return {name: check(node, f"{path}.{name}", kind=kind) for name, node in nodes.items()}


def _check_monitor(plan: Plan, path: str) -> None:
    """Refuse a callback that would keep the worst value as the best."""
    from colorlab.metrics import direction

    monitor = plan.arguments.get("monitor")
    better = direction(monitor) if isinstance(monitor, str) else None
    if better and plan.accepts("mode") and plan.arguments.get("mode", "min") != better:
        verb = "rise" if better == "max" else "fall"
        raise UserError(f"{path}.monitor={monitor} should {verb}: add {path}.mode={better}.")
