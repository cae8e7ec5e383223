"""The folder that a command makes for what it writes: its own, and gone again if nothing was written to it."""

import os
import re
import shutil
from contextlib import suppress
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from colorlab.config.words import quoted
from colorlab.process.ranks import is_requeued

WRITTEN_BY_HYDRA = "multirun.yaml"
"""What Hydra writes into the folder of a sweep before it knows whether the sweep is possible."""

_made: dict[Path, list[Path]] = {}
"""The folders that the command has made, each with the new ones among its parents, the deepest first."""


class NewFolder(Callback):
    """Hydra's callback that makes the folder of a run or a sweep before Hydra does.

    If its own name holds the time, and another process has taken the name, a number is appended: two commands that
    start in the same second do not share a folder. Any other name was chosen by the user, and is taken as it is.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _make_folder_of(config, "hydra.run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        if (folder := _make_folder_of(config, "hydra.sweep.dir")) is not None:
            with read_write(config), open_dict(config):  # Hydra composes each job from these overrides
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(folder)}")


def make_folder(path: Path, numbered: bool = False) -> Path:
    """Make a folder unless it exists, and remember that this process has made it.

    Args:
        path: the folder.
        numbered: if it exists, make `path_2`, `path_3`, … instead: of several processes, each gets its own.

    Returns:
        The folder.
    """
    for number in count(1):
        folder = path if number == 1 else path.with_name(f"{path.name}_{number}")
        new_parents = [parent for parent in folder.absolute().parents if not parent.exists()]
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if numbered:
                continue
        else:
            _made[folder.absolute()] = new_parents
        return folder
    raise AssertionError("count has no end")


def remove_made_folder(folder: Path) -> bool:
    """Remove a folder, and its parents that are empty then, if this process has made them; return whether it has."""
    if folder.absolute() not in _made:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # something else is there
        for parent in _made.pop(folder.absolute()):
            parent.rmdir()
    return True


def remove_unused_folders() -> None:
    """Remove the folders that this command has made and nothing was written to; the others are kept from now on."""
    for folder in list(_made):
        if folder.is_dir() and {path.name for path in folder.iterdir()} <= {WRITTEN_BY_HYDRA}:
            remove_made_folder(folder)
    _made.clear()


def _make_folder_of(config: DictConfig, key: str) -> Path | None:
    """Make the folder that a key of the configuration names; return its path if it was numbered."""
    if any(int(os.environ.get(name, "1")) > 1 for name in ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")):
        return None  # the processes that train one model must all name the same folder
    unresolved = _unresolved(config, key)
    if repeated := re.fullmatch(r"\$\{(\w+)\}", unresolved):  # as in `hydra.run.dir: ${out}`
        key, unresolved = repeated[1], _unresolved(config, repeated[1])
    path, numbered = Path(_resolved(config, key)), "${now:" in unresolved.rpartition("/")[2] and not is_requeued()
    try:
        folder = make_folder(path, numbered)
    except OSError:  # Hydra fails at the same, and that is reported
        return None
    if not numbered:
        return None
    with read_write(config), open_dict(config):
        OmegaConf.update(config, key, str(folder))
    return folder


def _unresolved(config: DictConfig, key: str) -> str:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else config
    values = OmegaConf.to_container(node, resolve=False)
    assert isinstance(values, dict)
    return str(values[name])


def _resolved(config: DictConfig, key: str) -> str:
    """Return the value of a key that may refer to Hydra's own configuration, which is not yet set."""
    content, hydra = deepcopy(config), HydraConfig.instance()
    before = hydra.cfg
    try:
        hydra.set_config(content)
        return str(OmegaConf.select(content, key))
    finally:
        hydra.cfg = before
