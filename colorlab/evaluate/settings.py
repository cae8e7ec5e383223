"""The settings of an evaluation. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Any, Literal

GROUPS = ("data", "trainer", "logger", "run")
"""The groups of the configuration, beside the settings."""


@dataclass
class Settings:
    """What to evaluate, and how.

    Args:
        checkpoint: checkpoint files, run folders, of which the best checkpoint is taken, or published networks by word.
        protocol: pictures stretched to 256×256, or at their own size.
        split: which of the photographs; a model trained with the same data settings has not seen those of test.
        metrics: names of metrics and classes of plugins; None for all that are available.
        prior: a file of `colorlab.prior` for the rebalanced AuC; None counts the evaluated pictures.
        alexnet, inception: weights of LPIPS, and of FID and KID; None looks in torch's cache.
        against: an evaluation.json of the same runs; whether these values lie within its intervals is reported.
    """

    checkpoint: list[str]
    protocol: Literal["stretch256", "native"] = "stretch256"
    split: Literal["train", "val", "test", "all"] = "test"
    metrics: list[str | dict[str, Any]] | None = None
    prior: str | None = None
    alexnet: str | None = None
    inception: str | None = None
    against: str | None = None
