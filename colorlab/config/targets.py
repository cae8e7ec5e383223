"""Targets: the classes and functions that a configuration or a checkpoint may name, and their type hints."""

import importlib
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from colorlab import plugins
from colorlab.config.type_hints import classes_in, hints_of, wanted
from colorlab.errors import UserError

PACKAGES = ("colorlab", "kornia", "lightning", "timm", "torch", "torchmetrics", "torchvision")
"""Packages that targets may come from, beside those that extend colorlab (`colorlab.plugins`). A target must also
make what its place in the configuration needs, since a stranger may have written the configuration and torch has
functions that run system commands."""


MOVED = {
    "colorlab.callbacks.finite.FiniteCheckpoint": "colorlab.callbacks.checkpoints.FiniteCheckpoint",
    "colorlab.callbacks.finite.FiniteSteps": "colorlab.callbacks.finite_steps.FiniteSteps",
    "colorlab.callbacks.last.Last": "colorlab.callbacks.checkpoints.Last",
    "colorlab.data.device.RandomCropFlip": "colorlab.data.RandomCropFlip",
    "colorlab.data.sharded.ShardedDataModule": "colorlab.data.ShardedDataModule",
}
"""Targets of earlier versions that configurations of users may still name, and where they are now."""


def locate(name: Any, where: str, kind: Any = None) -> Callable[..., Any]:
    """Return the class or function of a qualified name, from the packages that targets may come from.

    Args:
        name: as in "colorlab.models.cunet.CUNet".
        where: what messages begin with, before the name.
        kind: the type hint of what the target must make; None for any part of an experiment.

    Raises:
        UserError: its package is not one of them, there is no such target, or it makes something else.
    """
    name = MOVED.get(name, name) if isinstance(name, str) else str(name)
    module_name, _, attribute = name.rpartition(".")
    if (package := name.partition(".")[0]) not in (*PACKAGES, *plugins.packages()):
        allowed = ", ".join(PACKAGES)
        raise UserError(f"{where}{name} is not allowed: targets come from {allowed}{plugins.how_to_allow(package)}")
    try:
        target = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{where}{name} cannot be found: {error}.") from error
    if not callable(target):
        raise UserError(f"{where}{name} is neither a class nor a function.")
    made = target if inspect.isclass(target) else hints_of(target).get("return")
    kinds = list(classes_in(kind))
    if not inspect.isclass(made) or not _belongs(made, kinds):
        belongs = (
            " or ".join(map(wanted, kinds))
            if kinds
            else "a part of an experiment: a model, an optimizer, a callback, …"
        )
        raise UserError(f"{where}{name} does not make what belongs here: {belongs}.")
    return target


@cache
def kind_of(group: str) -> Any:
    """Return what the targets of a group of the configuration must make, a type hint for `locate`.

    Models and schedules are colorlab's own; the training knows their kinds.
    """
    from lightning import Callback, LightningDataModule, Trainer
    from lightning.pytorch.loggers import Logger
    from torch import nn, optim

    return {
        "optim": optim.Optimizer, "objective": nn.Module, "data": LightningDataModule, "trainer": Trainer,
        "callbacks": Callback, "logger": Logger,
    }[group]  # fmt: skip


def _belongs(made: type, kinds: list[type]) -> bool:
    """Return whether a class may stand where one of `kinds` is wanted: it is of that kind, and from a known package.

    Where no kind is told, or none that can be checked (a protocol with attributes), it is one of a library's kinds, or
    a class of a plugin, but not any class of colorlab: some of them open files.
    """
    checkable = list(filter(_is_checkable, kinds))
    package = made.__module__.partition(".")[0]
    if any(issubclass(made, kind) for kind in checkable):
        return package in ("colorlab", *plugins.packages()) or issubclass(made, _kinds())
    return len(checkable) < max(len(kinds), 1) and (package in plugins.packages() or issubclass(made, _kinds()))


def _is_checkable(kind: type) -> bool:
    try:
        return isinstance(issubclass(int, kind), bool)
    except TypeError:  # a protocol with attributes, or one that is not checked when the program runs
        return False


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
        ClusterEnvironment, optim.lr_scheduler.LRScheduler,
    )  # fmt: skip
