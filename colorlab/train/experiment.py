"""An experiment: its whole configuration, checked before anything is built."""

from types import NoneType
from typing import Any

from colorlab.config import Plan, check, check_filing
from colorlab.errors import UserError, did_you_mean
from colorlab.sweeps.score import direction_of
from colorlab.sweeps.settings import check_settings

GROUPS = ("model", "optim", "schedule", "objective", "data", "callbacks", "logger", "trainer", "sweep", "experiment")
KEYS = (*GROUPS[:-1], "metrics", "seed", "resume", "reproduce", "test", "debug", "run")
SWITCHES = {"model": "compile", "trainer": "scale_batch"}
"""What may stand beside a target's own arguments: it says how to train, and not what to build."""


def check_experiment(cfg: dict[str, Any]) -> dict[str, Any]:
    """Check the whole configuration; the plans of its objects by group.

    Args:
        cfg: the resolved configuration, in plain containers.

    Raises:
        UserError: the first thing that is wrong with it.
    """
    for key in cfg:
        if key not in KEYS:
            raise UserError(f"Unknown key {key}: {did_you_mean(key, list(KEYS))}")
    for key in KEYS:
        if key not in cfg:
            raise UserError(f"{key} is missing: ~{key} takes away what every experiment has.")
    for group in GROUPS[:-1]:
        if not isinstance(cfg[group], dict | (NoneType if group in ("callbacks", "logger") else dict)):
            raise UserError(f"{group}={cfg[group]} must be one of its group's files, {group}=NAME.")
    switches = {f"{group}.{key}": cfg[group].get(key, False) for group, key in SWITCHES.items()}
    for key, value in {"test": cfg["test"], "debug": cfg["debug"], **switches}.items():
        if not isinstance(value, bool):
            raise UserError(f"{key}={value} must be true or false.")
    for key in ("resume", "reproduce"):
        if not isinstance(cfg[key], str | None):
            raise UserError(f"{key}={cfg[key]} must be the path of a run's folder.")
    if cfg["resume"] and switches["trainer.scale_batch"]:
        raise UserError("trainer.scale_batch=true is for a new run: a resumed one goes on with its own batch size.")
    if not isinstance(cfg["seed"], int) or isinstance(cfg["seed"], bool) or not 0 <= cfg["seed"] < 2**32:
        raise UserError(f"seed={cfg['seed']} must be a whole number from 0 to 2³² − 1: it makes a run repeatable.")
    _check_metrics(cfg["metrics"])
    check_filing(cfg)
    check_settings(cfg["sweep"])
    if cfg["sweep"]["metric"] is not None:
        _check_compared(cfg)
    plans: dict[str, Any] = {}
    for group in ("model", "schedule", "objective", "data", "trainer"):
        plans[group] = check({key: value for key, value in cfg[group].items() if key != SWITCHES.get(group)}, group)
    plans["optim"] = check(cfg["optim"], "optim", given=("params",))
    for group in ("callbacks", "logger"):
        nodes = {name: node for name, node in (cfg[group] or {}).items() if node}
        known = [name for name, node in nodes.items() if isinstance(node, dict) and "_target_" in node]
        for name in nodes.keys() - known:
            raise UserError(f"Unknown key {group}.{name}: {did_you_mean(name, known, f'{group}.')}")
        plans[group] = {name: check(node, f"{group}.{name}") for name, node in nodes.items()}
    for name, plan in plans["callbacks"].items():
        _check_monitor(plan, f"callbacks.{name}")
    return plans


def _check_monitor(plan: Plan, path: str) -> None:
    """Refuse a callback that would take the worst value for the best."""
    from colorlab.metrics import direction

    monitor = plan.arguments.get("monitor")
    better = direction(monitor) if isinstance(monitor, str) else None
    if better and plan.accepts("mode") and plan.arguments.get("mode", "min") != better:
        verb = "rise" if better == "max" else "fall"
        raise UserError(f"{path}.monitor={monitor} should {verb}: add {path}.mode={better}.")


def _check_metrics(names: Any) -> None:
    from colorlab.metrics import ON_PICTURES, check_names

    if not isinstance(names, list):
        raise UserError(f"metrics={names} must be a list: metrics=[psnr,ssim].")
    check_names(names)
    for name in names:
        if name not in ON_PICTURES:
            raise UserError(f"metrics={name} is too dear for each validation: callbacks=evaluation measures it.")


def _check_compared(cfg: dict[str, Any]) -> None:
    """Refuse a value to compare runs by that would turn out not to be there after the training."""
    metric = cfg["sweep"]["metric"]
    direction_of(metric)
    measured = metric.partition("/")[2] in ("loss", *cfg["metrics"]) or (cfg["callbacks"] or {}).get("evaluation")
    if not measured or (metric.startswith("test/") and not cfg["test"]):
        raise UserError(f"sweep.metric={metric} is not measured: see metrics, test and callbacks=evaluation.")
