"""Scores of several models and the baselines in one pass over photographs."""

from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from colorlab.color import rgb_to_lab
from colorlab.data import ColorDataModule
from colorlab.data.photographs import Photographs
from colorlab.evaluate.extremes import Extremes, thumbnail
from colorlab.evaluate.named_models import NamedModel
from colorlab.evaluate.predictor import MultiModelPredictor
from colorlab.metrics import Colored, colorfulness_of
from colorlab.metrics.suite import MetricSuite, Record

BASELINES = ("gray", "true")
"""Evaluated beside the models, for scale: ab = 0, and the photograph itself."""


class Results(NamedTuple):
    """The results of one process."""

    photographs: Tensor
    records: dict[str, Record]
    extremes: dict[str, Extremes]
    examples: dict[int, dict[str, Image.Image]]
    skipped: dict[str, str]


class Evaluator(MultiModelPredictor):
    """Scores models and the baselines on photographs, in one pass.

    After the pass, the first process holds all results in `index`, `records`, `extremes` and `examples`.

    Args:
        models: the models to evaluate.
        data, photographs: where the batches come from.
        suite: the metrics.
        extremes: how many of the best and of the worst pictures to keep by each metric.
        examples: how many photographs to keep with the pictures of every model.
    """

    def __init__(
        self,
        models: list[NamedModel],
        data: ColorDataModule,
        photographs: Photographs,
        suite: MetricSuite,
        extremes: int = 10,
        examples: int = 10,
    ) -> None:
        super().__init__(models, data, photographs)
        self.suite = suite  # not a submodule: its networks stay in float32 whatever the precision of the run
        names = [each.name for each in models]
        self.index = torch.empty(0, dtype=torch.int64)
        self.records: dict[str, Record] = {name: {} for name in (*BASELINES, *names)}
        self.extremes = {name: Extremes(extremes) for name in names}
        self.example_index = {place * len(photographs) // examples for place in range(examples)}
        self.examples: dict[int, dict[str, Image.Image]] = {}

    def on_predict_start(self) -> None:
        self.suite.to(self.device)

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> None:
        rgb, index = batch
        if not len(index):
            return
        lightness, true = rgb_to_lab(rgb)
        predicted = {"gray": torch.zeros_like(true), "true": true, **self.predict_all(rgb)}
        photograph = Colored(lightness, true, true).photograph
        true_features = self.suite.features(photograph)
        true_colorfulness = colorfulness_of(photograph).cpu()
        for name, ab in predicted.items():
            colored = Colored(lightness, ab, true)
            colored.photograph = photograph
            record = {key: value.cpu() for key, value in self.suite.measure(colored, true_features).items()}
            so_far = self.records[name]
            self.records[name] = {key: _append(so_far.get(key), value) for key, value in record.items()}
            if name in self.extremes:
                self.extremes[name].update(index.tolist(), record, true_colorfulness, colored)
        for place, number in enumerate(index.tolist()):
            if number in self.example_index:
                one = slice(place, place + 1)
                self.examples[number] = {name: thumbnail(lightness[one], ab[one]) for name, ab in predicted.items()}
        self.index = _append(self.index, index.cpu())

    def on_predict_end(self) -> None:
        """Gather the results of all processes, in the order of the photographs."""
        own = Results(self.index, self.records, self.extremes, self.examples, self.data.skipped.reasons)
        parts = [own] * self.trainer.world_size
        if len(parts) > 1:
            torch.distributed.all_gather_object(parts, own)
        for part in parts:
            self.data.skipped.reasons |= part.skipped
            self.examples |= part.examples
            for name, extremes in self.extremes.items():
                extremes.merge(part.extremes[name])
        parts = [part for part in parts if len(part.photographs)] or parts[:1]
        order = torch.cat([part.photographs for part in parts]).argsort()
        self.index = torch.cat([part.photographs for part in parts])[order]
        self.records = {
            name: {key: torch.cat([part.records[name][key] for part in parts])[order] for key in record}
            for name, record in parts[0].records.items()
        }


def _append(so_far: Tensor | None, new: Tensor) -> Tensor:
    return new if so_far is None else torch.cat((so_far, new))
