"""The configuration's groups, its folder, and the settings that all commands share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colorlab.errors import UserError
from colorlab.library_internals import cpu_computes_in_bf16

GROUPS = ("model", "optim", "schedule", "objective", "data", "callbacks", "logger", "trainer", "sweep", "experiment")
"""Folders of conf/ from which a training is composed."""

SETTINGS = ("metrics", "seed", "resume", "reproduce", "test", "debug", "run")
"""Keys of a training's configuration beside its groups."""


def conf_folder() -> Path:
    """Return the folder of the configuration groups: inside an installed wheel, or beside the package."""
    package = Path(__file__).parents[1]
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
        name: the run's name in the tracker; null means the name of its folder.
        group: wandb's group; in a sweep, null means the folder of the sweep.
        tags: words to find the run by.
        notes: a description.
    """

    project: str
    name: str | None = None
    group: str | None = None
    tags: list[str] | None = None
    notes: str | None = None
