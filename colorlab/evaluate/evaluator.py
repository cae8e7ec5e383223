"""One pass over photographs, in which every contestant colors and is scored."""

from pathlib import Path

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import Logger
from PIL import Image, ImageOps
from torch import Tensor, nn

from colorlab.color import has_color, rgb_to_lab
from colorlab.config import Plan
from colorlab.data import ColorDataModule
from colorlab.data.photographs import GRAY, Photographs, Pictures, Skipped
from colorlab.evaluate.contestants import Contestant, color
from colorlab.images.contact_sheet import CELL, picture_of
from colorlab.metrics import METRICS, Colored, colorfulness_of, goodness
from colorlab.metrics.suite import MetricSuite, Record

BASELINES = ("gray", "true")
"""Judged beside the contestants, for the sake of scale: ab = 0, and the photograph itself."""


class Contest(LightningModule):
    """Contestants before photographs, run by `Trainer.predict` over batches of `Pictures`.

    A picture without color is left out: there is nothing to compare with.

    Args:
        contestants: who colors.
        data, photographs: where the batches come from.
    """

    def __init__(self, contestants: list[Contestant], data: ColorDataModule, photographs: Photographs) -> None:
        super().__init__()
        self.models = nn.ModuleList(contestant.model for contestant in contestants)
        self.names = [contestant.name for contestant in contestants]
        self.data, self.photographs = data, photographs

    def on_after_batch_transfer(self, batch: Pictures, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Leave out what cannot be judged; the rgb of the rest, and which photographs they are."""
        rgb = batch.rgb.float() / 255
        gray = ~has_color(rgb_to_lab(rgb)[1])
        skipped = [*batch.skipped, *(Skipped(int(index), GRAY) for index in batch.index[gray])]
        self.data.note_skipped(batch._replace(skipped=skipped), self.photographs)
        return rgb[~gray], batch.index[~gray]

    def color(self, rgb: Tensor) -> dict[str, Tensor]:
        """The ab that each contestant predicts for photographs, [B, 3, H, W] in 0..1."""
        return {name: color(model, rgb) for name, model in zip(self.names, self.models, strict=True)}


class Evaluator(Contest):
    """Scores contestants and the baselines on photographs, in one pass.

    Afterwards the first process has everything in `index`, `records`, `extremes` and `examples`.

    Args:
        contestants: who is judged, beside the baselines.
        data, photographs: where the batches come from.
        suite: who judges.
        extremes: how many of the best and of the worst pictures to keep by each metric.
        examples: how many photographs to keep beside what every contestant makes of them.
    """

    def __init__(
        self,
        contestants: list[Contestant],
        data: ColorDataModule,
        photographs: Photographs,
        suite: MetricSuite,
        extremes: int = 10,
        examples: int = 10,
    ) -> None:
        super().__init__(contestants, data, photographs)
        self.suite = suite  # no module: whatever the precision of the run, its networks stay in float32
        self.index = torch.empty(0, dtype=torch.int64)
        self.records: dict[str, Record] = {name: {} for name in (*BASELINES, *self.names)}
        self.extremes = {name: Extremes(extremes) for name in self.names}
        self.shown = {place * len(photographs) // examples for place in range(examples)}
        self.examples: dict[int, dict[str, Image.Image]] = {}

    def on_predict_start(self) -> None:
        self.suite.to(self.device)

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> None:
        rgb, index = batch
        if not len(index):
            return
        lightness, true = rgb_to_lab(rgb)
        predicted = {"gray": torch.zeros_like(true), "true": true, **self.color(rgb)}
        photograph = Colored(lightness, true, true)
        seen = self.suite.features(photograph.photograph)
        true_colorfulness = colorfulness_of(photograph.photograph).cpu()
        for name, ab in predicted.items():
            colored = Colored(lightness, ab, true)
            colored.photograph = photograph.photograph
            record = {key: value.cpu() for key, value in self.suite.measure(colored, seen).items()}
            held = self.records[name]
            self.records[name] = {key: _join(held.get(key), value) for key, value in record.items()}
            if name in self.extremes:
                self.extremes[name].consider(index.tolist(), record, true_colorfulness, colored)
        for place, number in enumerate(index.tolist()):
            if number in self.shown:
                one = slice(place, place + 1)
                self.examples[number] = {name: _small(lightness[one], ab[one]) for name, ab in predicted.items()}
        self.index = _join(self.index, index.cpu())

    def on_predict_end(self) -> None:
        """Bring everything to the first process, in the order of the photographs."""
        own = (self.index, self.records, self.extremes, self.examples, self.data.skipped)
        parts = [own]
        if self.trainer.world_size > 1:
            parts = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, own)
        for _, _, extremes, examples, skipped in parts:
            self.data.skipped |= skipped
            self.examples |= examples
            for name, own in self.extremes.items():
                own.merge(extremes[name])
        parts = [part for part in parts if len(part[0])] or parts[:1]
        order = torch.cat([index for index, *_ in parts]).argsort()
        self.index = torch.cat([index for index, *_ in parts])[order]
        for name in self.records:
            keys = parts[0][1][name]
            self.records[name] = {key: torch.cat([part[1][name][key] for part in parts])[order] for key in keys}


def _join(held: Tensor | None, new: Tensor) -> Tensor:
    return new if held is None else torch.cat((held, new))


def _small(lightness: Tensor, ab: Tensor) -> Image.Image:
    """A picture as small as sheets show it."""
    return ImageOps.contain(picture_of(lightness, ab), (CELL, CELL))


class Extremes:
    """The best and the worst pictures of one contestant by each metric, kept small while all pass by.

    Args:
        count: how many of the best, and how many of the worst.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.goodness: dict[int, dict[str, float]] = {}  # photograph → metric → the higher the better
        self.values: dict[int, Record] = {}
        self.pictures: dict[int, dict[str, Image.Image]] = {}

    def consider(self, index: list[int], record: Record, true_colorfulness: Tensor, colored: Colored) -> None:
        """Keep what is among the extremes so far of these photographs.

        Args:
            index: [B], which they are.
            record: the values of each metric, [B].
            true_colorfulness: of the photographs themselves, [B].
            colored: the pictures, [B, …].
        """
        for place, photograph in enumerate(index):
            values = {name: float(record[name][place]) for name in METRICS if name in record}
            self.values[photograph] = values
            near = float(true_colorfulness[place])
            self.goodness[photograph] = {name: goodness(name, value, near) for name, value in values.items()}
        kept = self._kept()
        for place, photograph in enumerate(index):
            if photograph in kept:
                one = slice(place, place + 1)
                lightness = colored.lightness[one]
                shades = {"true": colored.true, "gray": torch.zeros_like(colored.true), "predicted": colored.predicted}
                self.pictures[photograph] = {name: _small(lightness, ab[one]) for name, ab in shades.items()}
        self._forget_all_but(kept)

    def merge(self, other: "Extremes") -> None:
        """Take over another process's."""
        self.goodness |= other.goodness
        self.values |= other.values
        self.pictures |= other.pictures
        self._forget_all_but(self._kept())

    def best(self, metric: str) -> list[int]:
        """Photographs, the best first."""
        return self._ranked(metric)[::-1][: self.count]

    def worst(self, metric: str) -> list[int]:
        """Photographs, the worst first."""
        return self._ranked(metric)[: self.count]

    def metrics(self) -> list[str]:
        """What there is to be best or worst by."""
        return list(next(iter(self.goodness.values()), {}))

    def _ranked(self, metric: str) -> list[int]:
        known = [photograph for photograph, good in self.goodness.items() if good[metric] == good[metric]]
        return sorted(known, key=lambda photograph: (self.goodness[photograph][metric], photograph))

    def _kept(self) -> set[int]:
        return {photograph for name in self.metrics() for photograph in (*self.best(name), *self.worst(name))}

    def _forget_all_but(self, kept: set[int]) -> None:
        for held in (self.goodness, self.values, self.pictures):
            for photograph in held.keys() - kept:
                del held[photograph]


def trainer_of(plan: Plan, folder: Path, loggers: list[Logger]) -> Trainer:
    """The Trainer of a plan, for a `Contest`."""
    progress = [RichProgressBar()] if plan.arguments.get("enable_progress_bar", True) else []
    plan.arguments.setdefault("enable_model_summary", False)
    return plan.build(default_root_dir=folder, logger=loggers, callbacks=progress)
