"""Hydra's callback that shows the leaderboard of a sweep at its end."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class AfterSweep(Callback):
    """Show a multirun's leaderboard; Hydra calls it in the process that the user started, with any launcher."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from colorlab.leaderboard.show import show_leaderboard
        from colorlab.leaderboard.summary import NoRuns

        with suppress(NoRuns):  # all were refused, which is reported next
            show_leaderboard([Path(config.hydra.sweep.dir)])
