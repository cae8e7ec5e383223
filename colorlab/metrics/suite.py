"""All requested metrics of colored pictures, with the networks that some of them need."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from colorlab.bins import rebalancing, soft_encode
from colorlab.color import exact
from colorlab.data.color_histogram import read_prior
from colorlab.errors import UserError
from colorlab.metrics import MEASURES, METRICS, Colored, auc_of_pixels, measure, metric_names
from colorlab.metrics.networks import load_networks

Record = dict[str, Tensor]
"""The metrics of N pictures: the values under each metric's name, [N].

Beside them stand "weight of METRIC", the weight of each picture in the mean, [N], and "features of NETWORK", [N, D].
"""


class MetricSuite:
    """Computes some or all metrics of colored pictures, in float32 whatever the surrounding precision.

    Args:
        metrics: the metrics, as `metric_names` takes them; None for all that are available.
        prior: file of the photographs' colors from `colorlab.prior`, for the rebalanced AuC; None leaves it out.
        alexnet, inception: weights of LPIPS, and of FID and KID; None looks in torch's cache.

    Attributes:
        metrics: the names of the metrics that are computed.
        left_out: for each metric that is not available, the reason.

    Raises:
        UserError: a metric is unknown, or it was requested by name and is not available.
    """

    def __init__(
        self,
        metrics: Sequence[str | Mapping[str, Any]] | None = None,
        prior: Path | None = None,
        alexnet: str | None = None,
        inception: str | None = None,
    ) -> None:
        names = None if metrics is None else metric_names(metrics)
        self.networks, self.left_out = load_networks(names, alexnet, inception)
        if prior is None:
            if "auc_rebalanced" in (names or ()):
                raise UserError("auc_rebalanced needs a prior of the photographs' colors.")
            self.left_out |= {} if names else {"auc_rebalanced": "no prior was given."}
        requested = {*(names or METRICS)} - self.left_out.keys()
        requested |= {"colorfulness"} if "delta_colorfulness" in requested else set()  # computed from it
        self.metrics = [name for name in METRICS if name in requested]
        self.weights = None if prior is None else rebalancing(read_prior(prior), uniform=0)

    def to(self, device: torch.device) -> None:
        """Move the networks to a device."""
        for network in self.networks:
            network.network.to(device)

    def features(self, rgb: Tensor) -> list[Tensor]:
        """Return each network's features of pictures, [B, 3, H, W] in 0..1."""
        with torch.no_grad(), exact(rgb.device):
            return [network.features(rgb) for network in self.networks]

    def measure(self, colored: Colored, true_features: list[Tensor]) -> Record:
        """Compute the metrics of each picture.

        Args:
            colored: the pictures.
            true_features: `features` of the photographs.
        """
        record = measure(colored, [name for name in MEASURES if name in self.metrics])
        with torch.no_grad(), exact(colored.lightness.device):
            if self.weights is not None and "auc_rebalanced" in self.metrics:
                record |= _rebalanced_auc(colored, self.weights)
            for network, true in zip(self.networks, true_features, strict=True):
                features = network.features(colored.picture)
                values = network.compare_pictures(features, true)
                record |= {name: value for name, value in values.items() if name in self.metrics}
                if set(network.set_metrics) & set(self.metrics):
                    record[_features_key(network)] = features
        return record

    def measure_set(self, record: Record, true: Record) -> dict[str, float]:
        """Compute the metrics of a set as a whole, from the records of its pictures and of the photographs."""
        found: dict[str, float] = {}
        if "colorfulness" in record:
            found["delta_colorfulness"] = abs(float(record["colorfulness"].mean() - true["colorfulness"].mean()))
        for network in self.networks:
            key = _features_key(network)
            if key in record and len(record[key]) > 1:  # one picture has no distribution
                found |= network.compare_sets(record[key], true[key])
        return {name: value for name, value in found.items() if name in self.metrics}


def _features_key(network: object) -> str:
    return f"features of {type(network).__name__}"


def _rebalanced_auc(colored: Colored, weight_of_bin: Tensor) -> Record:
    """Compute Zhang's rebalanced AuC, in which pixels of rare true colors weigh more."""
    nearest, _ = soft_encode(colored.true, k=1)
    weight = weight_of_bin.to(nearest.device)[nearest[:, 0]]
    total = weight.sum(dim=(1, 2))
    value = (weight * auc_of_pixels(colored)).sum(dim=(1, 2)) / total
    return {"auc_rebalanced": value, "weight of auc_rebalanced": total}


def mean_of(record: Record, metric: str) -> float:
    """Return the mean of a metric over the pictures that have a value, by the record's weights."""
    values, weight = record[metric].double(), weights_of(record, metric)
    known = ~values.isnan()
    return float((values * weight)[known].sum() / weight[known].sum())


def weights_of(record: Record, metric: str) -> Tensor:
    """Return the weight of each picture in the mean of a metric, [N] float64; 1 except in the rebalanced AuC."""
    return record.get(f"weight of {metric}", torch.ones_like(record[metric])).double()
