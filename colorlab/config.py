"""From configuration to objects: the only module that checks and instantiates `_target_`s.

The constructor is the schema: the keys of a node are the argument names of its target, and the values have
the arguments' types. Everything is checked before anything is built, and a mistake is answered in one sentence.
"""

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from colorlab.errors import UserError, did_you_mean
from colorlab.library_internals import cpu_computes_in_bf16
from colorlab.plan import Plan

PACKAGES = ("colorlab", "kornia", "lightning", "torch", "torchmetrics", "torchvision")
"""Packages that targets may come from. A target must also be a part of an experiment (see `_kinds`), since
a stranger may have written the configuration and torch has functions that run system commands."""


MOVED = {
    "colorlab.callbacks.finite.FiniteCheckpoint": "colorlab.callbacks.checkpoints.FiniteCheckpoint",
    "colorlab.callbacks.finite.FiniteSteps": "colorlab.callbacks.finite_steps.FiniteSteps",
    "colorlab.callbacks.last.Last": "colorlab.callbacks.checkpoints.Last",
    "colorlab.callbacks.progress.Progress": "lightning.pytorch.callbacks.RichProgressBar",
    "colorlab.data.device.RandomCropFlip": "colorlab.data.RandomCropFlip",
    "colorlab.data.sharded.ShardedDataModule": "colorlab.data.ShardedDataModule",
}
"""Targets of earlier versions that configurations of users may still name, and where they are now."""

GROUPS = ("model", "optim", "schedule", "objective", "data", "callbacks", "logger", "trainer", "sweep", "experiment")
"""Folders of conf/ from which a training is composed."""

SETTINGS = ("metrics", "seed", "resume", "reproduce", "test", "debug", "run")
"""Keys of a training's configuration beside its groups."""


def conf_folder() -> Path:
    """Return the folder of the configuration groups: inside an installed wheel, or beside the package."""
    package = Path(__file__).parent
    inside = package / "conf"
    return inside if inside.is_dir() else package.parent / "conf"


def cpu_precision() -> str:
    """Return Lightning's fastest `precision` for this CPU; a CPU that emulates bf16 is several times slower with it."""
    return "bf16-mixed" if cpu_computes_in_bf16() else "32-true"


OmegaConf.register_new_resolver("cpu_precision", cpu_precision, replace=True)  # for the recipes in conf/experiment


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a configuration in plain Python containers, with its interpolations resolved.

    Raises:
        UserError: a required value is missing, or an interpolation cannot be resolved.
    """
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"{missing[0]} is missing: add {missing[0]}=… to the command.")
    try:
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise UserError(f"The configuration cannot be resolved: {str(error).splitlines()[0]}") from error


def flatten(tree: Mapping[str, Any], separator: str = ".") -> dict[str, Any]:
    """Return the leaves of nested dictionaries by their joined keys; an empty dictionary is a leaf."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            leaves |= {f"{key}{separator}{name}": leaf for name, leaf in flatten(value, separator).items()}
        else:
            leaves[key] = value
    return leaves


@dataclass
class Filing:
    """The group `run` of every command's configuration: how a tracker files the run.

    Args:
        project: wandb's project, or mlflow's experiment.
        name: the run's name in the tracker.
        group: wandb's group; in a sweep, null means the folder of the sweep.
        tags: words to find the run by.
        notes: a description.
    """

    project: str
    name: str
    group: str | None = None
    tags: list[str] | None = None
    notes: str | None = None


def check_filing(run: Mapping[str, Any]) -> Filing:
    """Check the group `run` of a configuration.

    Raises:
        UserError: an unknown key, or a value of the wrong type.
    """
    return check_arguments(Filing, run, "run").build()


def check(node: Mapping[str, Any], path: str, given: tuple[str, ...] = ()) -> Plan:
    """Check a node against the signature and the type hints of its target.

    Args:
        node: plain containers with a `_target_`.
        path: the node's place in the configuration, for messages.
        given: arguments that are passed to `build`, and so may not be in the node.

    Raises:
        UserError: an unknown target or key, a value of the wrong type, a missing argument.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{path} has no _target_: choose one of its group's files, {path}=NAME.")
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    plan = check_arguments(_locate(node["_target_"], path), arguments, path, given)
    return replace(plan, name=node["_target_"])


def check_arguments(
    target: Callable[..., Any], values: Mapping[str, Any], path: str = "", given: tuple[str, ...] = ()
) -> Plan:
    """Check arguments against the signature and the type hints of their target, as `check` does.

    Raises:
        UserError: an unknown key, a value of the wrong type, a missing argument.
    """
    prefix = f"{path}." if path else ""
    if not isinstance(values, Mapping):
        raise UserError(f"{path}={values} must be keys and their values.")
    parameters = inspect.signature(target).parameters
    hints = _hints(target)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    arguments = {}
    for key, value in values.items():
        if (key not in parameters and not open_ended) or key in given:
            raise UserError(f"Unknown key {prefix}{key}: {did_you_mean(key, list(parameters), prefix)}")
        arguments[key] = _check_value(value, hints.get(key, Any), f"{prefix}{key}")
    for key, parameter in parameters.items():
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and not variadic and key not in arguments and key not in given:
            raise UserError(f"{prefix}{key} is missing: add {prefix}{key}=… to the command.")
    return Plan(target, arguments, path)


def _locate(name: Any, path: str) -> Callable[..., Any]:
    name = MOVED.get(name, name) if isinstance(name, str) else name
    module_name, _, attribute = str(name).rpartition(".")
    if str(name).split(".")[0] not in PACKAGES:
        raise UserError(f"{path}._target_={name} is not allowed: targets come from {', '.join(PACKAGES)}.")
    try:
        target = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{path}._target_={name} cannot be found: {error}.") from error
    if not callable(target):
        raise UserError(f"{path}._target_={name} is neither a class nor a function.")
    made = target if inspect.isclass(target) else _hints(target).get("return")
    if not inspect.isclass(made) or not (made.__module__.startswith("colorlab.") or issubclass(made, _kinds())):
        raise UserError(f"{path}._target_={name} makes no part of an experiment: no model, optimizer, callback, ….")
    return target


@cache
def _kinds() -> tuple[type, ...]:
    """Return the library classes that targets may be, or make."""
    from lightning import Callback, LightningDataModule, Trainer
    from lightning.pytorch import accelerators, loggers, plugins, profilers, strategies
    from lightning.pytorch.plugins.environments import ClusterEnvironment
    from torch import nn, optim

    return (
        nn.Module, optim.Optimizer, LightningDataModule, Callback, loggers.Logger, Trainer, accelerators.Accelerator,
        strategies.Strategy, profilers.Profiler, plugins.Precision, plugins.CheckpointIO, plugins.LayerSync,
        ClusterEnvironment,
    )  # fmt: skip


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (NameError, TypeError):  # hints that cannot be evaluated outside their own module
        return {}


def _check_value(value: Any, hint: Any, path: str) -> Any:
    """Return the value in the type of its argument, with nested targets as plans."""
    if isinstance(value, Mapping) and "_target_" in value:
        if _is_plain(hint):
            raise UserError(f"{path} must be {_wanted(hint)}, and not what a _target_ makes.")
        return check(value, path)
    if isinstance(value, Mapping | list) and has_target(value):
        element = _element_hint(type(value), hint, path)
        if isinstance(value, Mapping):
            return {key: _check_value(each, element, f"{path}.{key}") for key, each in value.items()}
        return [_check_value(each, element, f"{path}[{place}]") for place, each in enumerate(value)]
    try:
        typed = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except PydanticSchemaGenerationError:
        return value
    except ValidationError as error:
        raise UserError(f"{path}={value} must be {_wanted(hint)}.") from error
    return value if isinstance(typed, Iterator) else typed  # for an Iterable hint pydantic gives a lazy iterator


def _element_hint(kind: type, hint: Any, path: str) -> Any:
    """Return the type hint of the elements if an argument's hint allows a list or a dict, the `kind`."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        container = get_origin(option) or option
        if option is Any or (inspect.isclass(container) and issubclass(kind, container)):
            return (get_args(option) or (Any,))[-1]
    raise UserError(f"{path} must be {_wanted(hint)}, and not a {kind.__name__} of what _target_s make.")


def has_target(value: Any) -> bool:
    """Return whether plain containers hold a node with a `_target_`, at any depth."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(has_target, value.values()))
    return isinstance(value, list | tuple) and any(map(has_target, value))


def _is_plain(hint: Any) -> bool:
    """Return whether an argument takes plain data, which no target makes."""
    if get_origin(hint) is Annotated:
        return _is_plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return all(map(_is_plain, get_args(hint)))
    return hint in (int, float, str, bool, NoneType, Path, timedelta) or get_origin(hint) in (Literal, dict, list)


def _wanted(hint: Any) -> str:
    words = {
        list[str]: "a list of texts",
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        NoneType: "null",
    }
    if get_origin(hint) is Annotated:
        return _wanted(get_args(hint)[0])
    if hint in words:
        return words[hint]
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind in words or get_origin(kind) is not None]
        return " or ".join(dict.fromkeys(map(_wanted, kinds or get_args(hint))))
    return f"of type {hint.__name__ if inspect.isclass(hint) and not get_args(hint) else hint}"
