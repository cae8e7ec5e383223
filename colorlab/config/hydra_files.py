"""Configuration files of a user's own folders are data: of Hydra's settings they may hold those that start nothing.

Hydra's callbacks, launchers, sweepers and logging can start any program. Such settings come from colorlab, from
installed packages, or from words that the user types.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from colorlab import plugins
from colorlab.config.settings import conf_folder, flatten
from colorlab.errors import UserError
from colorlab.library_internals import FileConfigSource, use_for_files

PROVIDERS = ("main", "command-line", "hydra.searchpath in main", "hydra.searchpath in command-line")
"""Hydra's names for folders of configurations that no installed package has registered."""

SAFE_TEXT_KEYS = re.compile(
    r"(run|sweep)\.dir|sweep\.subdir|mode|verbose|job\.name|launcher\.(name|partition|account|qos|constraint|gres)"
    r"|sweeper\.params\.(?!.*hydra).*"
)
"""Keys of `hydra` that a file may set to a text without line breaks."""

SAFE_NUMBER_KEYS = re.compile(r"launcher\.((init|remote)\.)?(?!_)\w+|sweeper\.max_batch_size|job\.num|verbose")
"""Keys of `hydra` that a file may set to a number, a truth value or null."""

SWITCHES = ("output_subdir", "job.chdir", "launcher.submitit_folder", "searchpath")
"""Keys of `hydra` that start nothing, but say where files are written or read: a file may set them to null or false."""

CHOICE_GROUPS = re.compile(r"(optional |override )*/?hydra/(launcher|sweeper|job_logging|hydra_logging)")
"""Groups of Hydra in which a file may choose; the files in them are Hydra's, or of installed packages."""


class UserFiles(FileConfigSource):
    """Hydra's source of configuration files, which refuses those that could start a program."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file.

        Raises:
            UserError: it sets what only an installed package, or the command line, may set.
        """
        result: ConfigResult = super().load_config(config_path)
        trusted = {folder.resolve() for folder in (conf_folder(), *plugins.conf_folders().values())}
        if self.provider in PROVIDERS and Path(self.path).resolve() not in trusted:
            for key in _starting(config_path.removesuffix(".yaml"), result):
                reason = (
                    "a configuration file may set it only to null or false."
                    if key.removeprefix("hydra.") in SWITCHES
                    else "it can start programs, and a configuration file cannot bring code in."
                )
                raise UserError(
                    f"{Path(self.path) / config_path}: {key} must be typed on the command line, since {reason}"
                )
        return result


def read_user_files_as_data() -> None:
    """Let Hydra read all configuration files with `UserFiles`, also in the processes of launchers."""
    Plugins.instance()  # registers the sources of Hydra itself
    use_for_files(UserFiles)


def _starting(name: str, result: ConfigResult) -> Iterator[str]:
    """Yield the keys of a file that may start something, and the places in Hydra's settings where it would be put."""
    package = result.header.get("package") or ""
    if "hydra" in (*name.split("/"), *package.split(".")):
        yield f"hydra, by the file's {'package' if 'hydra' in package else 'name'},"
    content = OmegaConf.to_container(result.config, resolve=False)
    if not isinstance(content, dict):
        return
    for entry in content.get("defaults") or ():
        for word in entry if isinstance(entry, dict) else (entry,):
            group, _, place = str(word).partition("@")
            if re.search(r"hydra|\$", place) or ("hydra" in group and not CHOICE_GROUPS.fullmatch(group)):
                yield f"{word}, in the defaults,"
    settings = content.get("hydra")
    for key, value in flatten(settings if isinstance(settings, dict) else {"": settings}).items():
        if "hydra" in content and not _is_data(key, value) and (key, value) not in _own_settings(name):
            yield f"hydra.{key}"


def _is_data(key: str, value: Any) -> bool:
    if value is None or isinstance(value, bool | int | float):
        off = (value is None or value is False) and key in SWITCHES
        return off or bool(SAFE_NUMBER_KEYS.fullmatch(key) or SAFE_TEXT_KEYS.fullmatch(key))
    return isinstance(value, str) and bool(SAFE_TEXT_KEYS.fullmatch(key)) and not re.search(r"[\r\n]", value)


def _own_settings(name: str) -> list[tuple[str, Any]]:
    """Return the settings of Hydra in colorlab's file of a name: a copy of it may have them, too."""
    file = (conf_folder() / name).with_suffix(".yaml")
    content = OmegaConf.to_container(OmegaConf.load(file)) if ".." not in name and file.is_file() else {}
    return list(flatten(content.get("hydra") or {}).items()) if isinstance(content, dict) else []
