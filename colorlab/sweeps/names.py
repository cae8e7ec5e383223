"""The names of a sweep's jobs. Importing this module registers the resolver `job_name` that conf/train.yaml uses."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from colorlab.config.words import key_of

MAX_LENGTH = 120
"""Characters of the longest name: folders hold longer ones, but screens and trackers do not."""


def job_name(overrides: Sequence[str], excluded: Sequence[str], default: str) -> str:
    """Return a short name for a job's folder, made of its overrides and safe in a file name.

    `model=cunet optim.lr=1e-3 model.activation=relu` becomes `cunet_lr1e-3_activation-relu`.

    Args:
        overrides: the job's.
        excluded: keys to leave out, such as those that all jobs share.
        default: the name if nothing is left.
    """
    values = {key_of(word): word.partition("=")[2] for word in overrides if key_of(word) not in excluded}
    last_parts = [key.rpartition(".")[2] for key in values]
    words = []
    for key, value in values.items():
        value = _shorten(re.sub(r"[^\w.,+-]+", "", value).strip(".,"))
        starts_with_letter = value[:1].isalpha()
        if "." not in key and starts_with_letter:
            words.append(value)  # a group's choice, such as model=cunet
        else:
            last_part = key.rpartition(".")[2]
            shown_key = last_part if last_parts.count(last_part) == 1 else key
            words.append(shown_key + ("-" if starts_with_letter else "") + value)
    return "_".join(words)[:MAX_LENGTH] or default


def _shorten(value: str) -> str:
    """Round a long decimal number, as a search draws it, to three digits."""
    return f"{float(value):.3g}" if len(value) > 8 and re.fullmatch(r"-?\d+\.\d+(e-?\d+)?", value) else value


OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def file_job(cfg: DictConfig, hydra_cfg: HydraConf) -> None:
    """Set a job's tracker group to its sweep, unless the user named one; its tracker name is its folder's."""
    sweep = Path(hydra_cfg.sweep.dir)
    inside = os.path.relpath(sweep, hydra_cfg.runtime.cwd).removeprefix("runs/")
    if cfg.run.group is None:
        cfg.run.group = sweep.name if inside.startswith("..") else inside
