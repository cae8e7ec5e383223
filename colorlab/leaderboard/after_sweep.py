"""AfterSweep: a multirun ends with its leaderboard."""

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class AfterSweep(Callback):
    """What Hydra calls in the process that was started, whichever launcher ran the jobs."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from colorlab.leaderboard.show import show_leaderboard

        show_leaderboard([Path(config.hydra.sweep.dir)])
