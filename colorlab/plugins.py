"""Packages of others that extend colorlab with classes and configuration of their own.

A package extends colorlab if it is installed and declares itself in its pyproject.toml,

    [project.entry-points.colorlab]
    mylab = "mylab"

or if it is typed on the command line: `plugins=[mylab]`. Nothing else can bring code in: no configuration file, no
checkpoint, no run folder. Its classes may then be named as `_target_` and in checkpoints, and its folder `conf`, laid
out like colorlab's, adds choices to the groups.
"""

import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from colorlab.errors import UserError

GROUP = "colorlab"
"""Group of entry points in which packages declare themselves."""

VARIABLE = "COLORLAB_PLUGINS"
"""Environment variable that hands the typed names on to the processes of launchers and of DDP."""

_WORD = re.compile(r"(?:--|\+{1,2})?plugins=(.*)")


def packages() -> list[str]:
    """Return the names of the top-level packages that extend colorlab; none of them is imported."""
    return sorted(_declared().union(_typed()))


def conf_folders() -> dict[str, Path]:
    """Return the configuration folders of the packages that have one, by package."""
    places = {name: place for name in packages() for place in _places(name)}
    return {name: place / "conf" for name, place in places.items() if (place / "conf").is_dir()}


def typed_words() -> list[str]:
    """Return what has to be typed again in another command: `plugins=[…]`, or nothing."""
    return [f"plugins=[{','.join(_typed())}]"] if _typed() else []


def take_typed(arguments: list[str]) -> list[str]:
    """Take `plugins=[mylab]`, or `--plugins mylab`, from the words of a command, and return the other words.

    Raises:
        UserError: there is no such package.
    """
    others, typed = [], list[str]()
    words = iter(arguments)
    for word in words:
        match = _WORD.fullmatch(word)
        given = next(words, "") if word == "--plugins" else match and match[1]
        if given is None:
            others.append(word)
        else:
            typed += [name.strip(" '\"") for name in given.strip("[]").split(",")]
    for name in typed:
        _require(name)
    if typed:
        os.environ[VARIABLE] = ",".join(dict.fromkeys(typed))
    return others


def check_environment(names: Iterable[str]) -> None:
    """Refuse a configuration that sets the variable of the typed names, in `hydra.job.env_set`.

    Raises:
        UserError: the variable is one of `names`.
    """
    if VARIABLE in names:
        raise UserError(f"hydra.job.env_set.{VARIABLE}: plugins=[…] must be typed on the command line.")


def how_to_allow(package: str) -> str:
    """Return the end of a sentence that refuses a package: how to allow it, unless it is one of Python's own."""
    own = package in sys.stdlib_module_names or not re.fullmatch(r"[A-Za-z]\w*", package)
    return "." if own else f". If {package} is a package of yours, add plugins=[{package}] to the command."


@cache
def _declared() -> frozenset[str]:
    """Return the packages that declare themselves; to find them, the metadata of all packages are read."""
    return frozenset(entry.value.partition(":")[0].partition(".")[0] for entry in entry_points(group=GROUP))


def _typed() -> list[str]:
    return [name for name in os.environ.get(VARIABLE, "").split(",") if name]


def _require(name: str) -> None:
    """Check that a module can be imported, here and in the processes that this one starts.

    The working folder is added to the places to search: Python does not search it for console scripts.
    """
    if not re.fullmatch(r"[A-Za-z]\w*", name):
        raise UserError(f"plugins={name} must be the name of a package: plugins=[mylab].")
    here = os.getcwd()
    if find_spec(name) is None:
        sys.path.append(here)
        if find_spec(name) is None:
            sys.path.remove(here)
            raise UserError(f"plugins={name} is neither installed nor in {here}.")
    places = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    if (here in sys.path or "" in sys.path) and here not in places:
        os.environ["PYTHONPATH"] = os.pathsep.join((*places, here))


def _places(name: str) -> list[Path]:
    """Return the folders of a package; a module that is a single file has none."""
    spec = find_spec(name)
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
