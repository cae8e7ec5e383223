"""Evaluation: the metrics that are too dear for every run, while it trains."""

import math
from collections import defaultdict
from pathlib import Path

import torch
from lightning import Callback, Trainer

from colorlab.data.color_histogram import cached_prior
from colorlab.errors import UserError
from colorlab.metrics import Colored
from colorlab.metrics.suite import MetricSuite, Record, mean_of
from colorlab.models.colorizer import ColorBatch, Colorizer, Prediction


class Evaluation(Callback):
    """Log metrics of the validation photographs that `metrics` of the run does not hold already.

    Among them are those of networks that look at the pictures, and those of whole sets. They cost
    about as much as `python -m colorlab.evaluate` on the validation photographs, each time.

    Args:
        metrics: their names; None for all that can be had.
        every_n_epochs: how often.
        prior: a file of `colorlab.prior` for the rebalanced AuC; None counts the validation photographs.
        alexnet, inception: weights of LPIPS, and of FID and KID; None looks into torch's cache.

    Raises:
        UserError: a metric is unknown, or was asked for by name and cannot be had.
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
        if self.suite is None and trainer.datamodule.names["val"]:
            prior = Path(self.prior).expanduser() if self.prior else cached_prior(trainer.datamodule, "val")
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
        seen = self.suite.features(true.photograph)
        for records, ab in zip(self._records, (outputs.ab, batch.ab), strict=True):
            record = self.suite.measure(Colored(batch.L, ab, batch.ab), seen)
            records.append({key: value.cpu() for key, value in record.items()})

    def on_validation_epoch_end(self, trainer: Trainer, model: Colorizer) -> None:
        if not self._due(trainer) or self.suite is None:
            return
        parts = [self._records]
        if trainer.world_size > 1:
            parts = [self._records] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._records)
        predicted, true = (_join([record for part in parts for record in part[which]]) for which in (0, 1))
        scores = {name: mean_of(predicted, name) for name in self.suite.metrics if name in predicted}
        scores |= self.suite.measure_set(predicted, true)
        new = {name: value for name, value in scores.items() if name not in model.metrics and not math.isnan(value)}
        model.log_dict({f"val/{name}": value for name, value in new.items()})


def _join(records: list[Record]) -> Record:
    joined = defaultdict(list)
    for record in records:
        for key, value in record.items():
            joined[key].append(value)
    return {key: torch.cat(values) for key, values in joined.items()}
