"""The settings of a study. Imports nothing heavy, so that a mistyped command is answered at once."""

from dataclasses import dataclass
from typing import Literal

from colorlab.errors import UserError

GROUPS = ("data", "trainer", "logger", "run")
"""The groups of the configuration, beside the settings."""


@dataclass
class Settings:
    """What a study asks, and how it is served.

    Args:
        out: the study's folder; an existing study is continued with its own pairs and answers.
        checkpoint: files, run folders or words, as in an evaluation; their pictures are the fakes.
        report: report the answers instead of asking.
        protocol: native shows pictures in their own shape.
        split: which of the photographs.
        pictures: the largest number of photographs.
        practice, counted: the number of pairs that each person sees.
        vigilance: the share of the counted pairs whose fake has random colors.
        exposure: how long a pair is shown, in seconds.
        host, port: where the page is served; port 0 takes a free one.
        people_per_address: how many people may take part from one address at a time.
        seed: of the choice of photographs and pairs.
    """

    out: str
    checkpoint: list[str] | None = None
    report: bool = False
    protocol: Literal["stretch256", "native"] = "native"
    split: Literal["train", "val", "test", "all"] = "test"
    pictures: int = 200
    practice: int = 10
    counted: int = 40
    vigilance: float = 0.1
    exposure: float = 1.0
    host: str = "127.0.0.1"
    port: int = 8000
    people_per_address: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "pictures": (1, 100_000), "practice": (0, 1000), "counted": (1, 1000), "vigilance": (0, 0.5),
            "exposure": (0.05, 60), "port": (0, 65_535), "people_per_address": (1, 1_000_000),
        }  # fmt: skip
        for key, (low, high) in bounds.items():
            if not low <= getattr(self, key) <= high:
                raise UserError(f"{key}={getattr(self, key)} must lie between {low} and {high}.")
