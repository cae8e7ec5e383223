"""Evaluate trained models on photographs: `python -m colorlab.evaluate checkpoint=PATH[,PATH…] data.root=PHOTOS`."""

import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from colorlab.command_line import quiet_libraries, run
from colorlab.config import plain
from colorlab.config.words import as_list
from colorlab.evaluate.settings import GROUPS, Settings


def _job(cfg: DictConfig) -> None:
    from colorlab.loggers import finish_tracker

    failed = True
    try:
        quiet_libraries()
        from colorlab.evaluate.evaluation import evaluate

        evaluate(plain(cfg), Path(HydraConfig.get().runtime.output_dir))
        failed = False
    finally:
        finish_tracker(failed)


def main() -> None:
    """Entry point of `colorlab-evaluate`."""
    for key in ("checkpoint", "metrics"):
        sys.argv[1:] = as_list(sys.argv[1:], key)
    run("evaluate", _job, (*Settings.__annotations__, *GROUPS))


if __name__ == "__main__":
    main()
