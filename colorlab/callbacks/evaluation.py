"""Evaluation: metrics of the validation photographs that take too long for every run."""

import math
from collections import defaultdict
from pathlib import Path

import torch
from lightning import Callback, Trainer
from torch import Tensor

from colorlab.callbacks import datamodule_of
from colorlab.data.color_histogram import cached_prior
from colorlab.errors import UserError
from colorlab.metrics import Colored
from colorlab.metrics.suite import MetricSuite, Record, mean_of
from colorlab.models.colorizer import Colorizer
from colorlab.objectives import ColorBatch, Prediction


class Evaluation(Callback):
    """Log metrics of the validation photographs that the run's `metrics` do not include.

    Among them are metrics computed by pretrained networks and metrics of sets of pictures. Each time they take about
    as long as `python -m colorlab.evaluate` on the validation photographs.

    Args:
        metrics: names of metrics; None takes all that are available.
        every_n_epochs: number of epochs between two evaluations.
        prior: a file of `colorlab.prior` for the rebalanced AuC; None counts the validation photographs.
        alexnet, inception: weights of LPIPS, and of FID and KID; None searches torch's cache.

    Raises:
        UserError: a metric is unknown, or is named in `metrics` and not available.
    """

    def __init__(
        self,
        metrics: list[str] | None = None,
        every_n_epochs: int = 1,
        prior: str | None = None,
        alexnet: str | None = None,
        inception: str | None = None,
    ) -> None:
        if every_n_epochs < 1:
            raise UserError(f"callbacks.evaluation.every_n_epochs={every_n_epochs} must be at least 1.")
        self.metrics, self.every_n_epochs, self.prior = metrics, every_n_epochs, prior
        self.weights = {"alexnet": alexnet, "inception": inception}
        self.suite: MetricSuite | None = None
        self._records: tuple[list[Record], list[Record]] = ([], [])

    def setup(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        data = datamodule_of(trainer)
        if self.suite is None and data.names["val"]:
            prior = Path(self.prior).expanduser() if self.prior else cached_prior(data, "val")
            self.suite = MetricSuite(self.metrics, prior, **self.weights)
            for reason in dict.fromkeys(self.suite.left_out.values()) if trainer.is_global_zero else ():
                print(f"callbacks.evaluation: {reason}", flush=True)

    def _due(self, trainer: Trainer) -> bool:
        return not trainer.sanity_checking and (trainer.current_epoch + 1) % self.every_n_epochs == 0

    def on_validation_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._records = ([], [])
        if self.suite is not None:
            self.suite.to(model.device)

    def on_validation_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: Prediction, batch: ColorBatch, *_: int
    ) -> None:
        if not (self._due(trainer) and self.suite is not None and len(batch.L)):
            return
        true = Colored(batch.L, batch.ab, batch.ab)
        features = self.suite.features(true.photograph)
        for records, ab in zip(self._records, (outputs.ab, batch.ab), strict=True):
            record = self.suite.measure(Colored(batch.L, ab, batch.ab), features)
            records.append({key: value.cpu() for key, value in record.items()})

    def on_validation_epoch_end(self, trainer: Trainer, model: Colorizer) -> None:
        if not self._due(trainer) or self.suite is None:
            return
        parts = [self._records] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(parts, self._records)
        predicted, true = (_join([record for part in parts for record in part[side]]) for side in (0, 1))
        scores = {name: mean_of(predicted, name) for name in self.suite.metrics if name in predicted}
        scores |= self.suite.measure_set(predicted, true)
        new = {name: value for name, value in scores.items() if name not in model.metrics and not math.isnan(value)}
        model.log_dict({f"val/{name}": value for name, value in new.items()})


def _join(records: list[Record]) -> Record:
    joined: dict[str, list[Tensor]] = defaultdict(list)
    for record in records:
        for key, value in record.items():
            joined[key].append(value)
    return {key: torch.cat(values) for key, values in joined.items()}
