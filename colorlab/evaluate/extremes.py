"""The best and the worst pictures of a model."""

import torch
from PIL import Image, ImageOps
from torch import Tensor

from colorlab.images.contact_sheet import CELL, picture_of
from colorlab.metrics import METRICS, Colored, goodness
from colorlab.metrics.suite import Record


class Extremes:
    """The best and the worst pictures of one model by each metric, selected while the batches pass.

    Photographs are known by their index.

    Args:
        count: how many of the best, and how many of the worst, to keep.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.goodness: dict[int, dict[str, float]] = {}  # photograph → metric → higher is better
        self.values: dict[int, dict[str, float]] = {}
        self.pictures: dict[int, dict[str, Image.Image]] = {}

    def update(self, index: list[int], record: Record, true_colorfulness: Tensor, colored: Colored) -> None:
        """Keep the pictures of a batch that are among the extremes so far.

        Args:
            index: the photographs, [B].
            record: the values of each metric, [B].
            true_colorfulness: of the photographs themselves, [B].
            colored: the pictures, [B, …].
        """
        for place, photograph in enumerate(index):
            values = {name: float(record[name][place]) for name in METRICS if name in record}
            true = float(true_colorfulness[place])
            self.values[photograph] = values
            self.goodness[photograph] = {name: goodness(name, value, true) for name, value in values.items()}
        kept = self._extremes()
        for place, photograph in enumerate(index):
            if photograph in kept:
                one = slice(place, place + 1)
                versions = {
                    "true": colored.true,
                    "gray": torch.zeros_like(colored.true),
                    "predicted": colored.predicted,
                }
                self.pictures[photograph] = {
                    name: thumbnail(colored.lightness[one], ab[one]) for name, ab in versions.items()
                }
        self._drop_others(kept)

    def merge(self, other: "Extremes") -> None:
        """Add the extremes of another process."""
        self.goodness |= other.goodness
        self.values |= other.values
        self.pictures |= other.pictures
        self._drop_others(self._extremes())

    def best(self, metric: str) -> list[int]:
        """Return the best photographs by a metric, best first."""
        return self._ranked(metric)[::-1][: self.count]

    def worst(self, metric: str) -> list[int]:
        """Return the worst photographs by a metric, worst first."""
        return self._ranked(metric)[: self.count]

    def metrics(self) -> list[str]:
        """Return the metrics by which pictures are ranked."""
        return list(next(iter(self.goodness.values()), {}))

    def _ranked(self, metric: str) -> list[int]:
        known = [photograph for photograph, good in self.goodness.items() if good[metric] == good[metric]]  # not NaN
        return sorted(known, key=lambda photograph: (self.goodness[photograph][metric], photograph))

    def _extremes(self) -> set[int]:
        return {photograph for name in self.metrics() for photograph in (*self.best(name), *self.worst(name))}

    def _drop_others(self, kept: set[int]) -> None:
        for photograph in self.goodness.keys() - kept:
            del self.goodness[photograph], self.values[photograph]
        self.pictures = {photograph: pictures for photograph, pictures in self.pictures.items() if photograph in kept}


def thumbnail(lightness: Tensor, ab: Tensor) -> Image.Image:
    """Draw a picture at the size of contact sheets: L [1, 1, H, W], ab [1, 2, H, W]."""
    return ImageOps.contain(picture_of(lightness, ab), (CELL, CELL))
