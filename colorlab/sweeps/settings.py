"""The keys of the group `sweep`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from colorlab.config import check_arguments
from colorlab.errors import UserError


@dataclass
class GridSettings:
    """The keys of `sweep` in a sweep over a grid, or in a single run.

    Args:
        metric: the logged value that the command returns at its best epoch; None for the best checkpoint's score.
    """

    metric: str | None


@dataclass
class SearchSettings:
    """The keys of `sweep` in a search.

    Args:
        metric: the logged value to optimize.
        space: the values to search, by key, in Hydra's syntax; a key that is None is not searched.
        trials: the number of runs, including those of an earlier start.
        at_once: the number of runs that the launcher runs in parallel.
        startup: the number of first runs with random values, which are never pruned.
        seed: of the random draws.
        trial: the number of the trial that a run belongs to; set by the search.
    """

    metric: str
    space: dict[str, Any]
    trials: int = 40
    at_once: int = 1
    startup: int = 10
    seed: int = 0
    trial: int | None = None

    def __post_init__(self) -> None:
        for name in ("trials", "at_once", "startup"):
            if getattr(self, name) < 1:
                raise UserError(f"sweep.{name}={getattr(self, name)} must be at least 1.")
        for key in self.space:
            if re.search(r"\bhydra\b", key):  # a configuration file may have set it
                raise UserError(f"sweep.space.{key} is not searched: {key} must be typed on the command line.")


def check_settings(settings: Mapping[str, Any]) -> GridSettings | SearchSettings:
    """Return the checked keys of `sweep`; those with a search space are a search's.

    Raises:
        UserError: an unknown key, or a value of the wrong type.
    """
    kind = SearchSettings if "space" in settings else GridSettings
    return check_arguments(kind, settings, "sweep").build()
