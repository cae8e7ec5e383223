"""The jury: every metric wanted, and the networks that some of them need."""

from pathlib import Path

import torch
from torch import Tensor

from colorlab.bins import rebalancing, soft_encode
from colorlab.color import exact
from colorlab.data.color_histogram import read_prior
from colorlab.errors import UserError
from colorlab.metrics import ON_PICTURES, SCALES, Colored, auc_of_pixels, check_names, measure
from colorlab.metrics.networks import open_eyes

Record = dict[str, Tensor]
"""What was found of some pictures: by the name of a metric its values, [N]; beside them, under
"weight of …" how much each picture counts, [N], and under "seen by …" what a network saw of it, [N, D]."""


class Jury:
    """Judges colored pictures by some or all metrics, in float32 whatever surrounds it.

    Args:
        metrics: the names of those wanted; None for all that can be had.
        prior: of the photographs' colors, for the rebalanced AuC; a file of `colorlab.prior`. None
            does without.
        alexnet, inception: weights of LPIPS, and of FID and KID; None looks into torch's cache.

    Attributes:
        metrics: those measured.
        left_out: of those that cannot be had, and why not.

    Raises:
        UserError: a metric is unknown, or was asked for by name and cannot be had.
    """

    def __init__(
        self,
        metrics: list[str] | None = None,
        prior: Path | None = None,
        alexnet: str | None = None,
        inception: str | None = None,
    ) -> None:
        check_names(metrics or ())
        self.eyes, self.left_out = open_eyes(metrics, alexnet, inception)
        if prior is None:
            if "auc_rebalanced" in (metrics or ()):
                raise UserError("auc_rebalanced needs a prior of the photographs' colors.")
            self.left_out |= {} if metrics else {"auc_rebalanced": "no prior was given."}
        wanted = {*(metrics or SCALES)} - self.left_out.keys()
        wanted |= {"colorfulness"} if "delta_colorfulness" in wanted else set()  # of which it is the difference
        self.metrics = [name for name in SCALES if name in wanted]
        self.weights = None if prior is None else rebalancing(read_prior(prior), uniform=0)

    def to(self, device: torch.device) -> None:
        """Bring the networks there."""
        for eye in self.eyes:
            eye.network.to(device)

    def see(self, rgb: Tensor) -> list[Tensor]:
        """What each network sees of pictures, [B, 3, H, W] in 0..1."""
        with torch.no_grad(), exact(rgb.device):
            return [eye.see(rgb) for eye in self.eyes]

    def judge(self, colored: Colored, true_seen: list[Tensor]) -> Record:
        """Judge pictures, given what the networks `see` of the photographs."""
        record = measure(colored, [name for name in ON_PICTURES if name in self.metrics])
        with torch.no_grad(), exact(colored.lightness.device):
            if "auc_rebalanced" in self.metrics:
                record |= self._rebalanced(colored)
            for eye, true in zip(self.eyes, true_seen, strict=True):
                seen = eye.see(colored.picture)
                record |= {name: value for name, value in eye.compare(seen, true).items() if name in self.metrics}
                if set(eye.sets) & set(self.metrics):
                    record[f"seen by {type(eye).__name__}"] = seen
        return record

    def _rebalanced(self, colored: Colored) -> Record:
        """Zhang's rebalanced AuC: a pixel counts the more, the rarer its true color."""
        nearest, _ = soft_encode(colored.true, k=1)
        weight = self.weights.to(nearest.device)[nearest[:, 0]]
        total = weight.sum(dim=(1, 2))
        value = (weight * auc_of_pixels(colored)).sum(dim=(1, 2)) / total
        return {"auc_rebalanced": value, "weight of auc_rebalanced": total}

    def judge_sets(self, record: Record, true: Record) -> dict[str, float]:
        """The scores that a set of pictures has as a whole, given the record of the photographs themselves."""
        found: dict[str, float] = {}
        if "colorfulness" in record:
            found["delta_colorfulness"] = abs(float(record["colorfulness"].mean() - true["colorfulness"].mean()))
        for eye in self.eyes:
            key = f"seen by {type(eye).__name__}"
            if key in record and len(record[key]) > 1:  # one picture has no distribution
                found |= eye.compare_sets(record[key], true[key])
        return {name: value for name, value in found.items() if name in self.metrics}


def mean_of(record: Record, metric: str) -> float:
    """The mean over the pictures; in the rebalanced AuC each counts by the weights of its pixels."""
    values = record[metric].double()
    weight = record.get(f"weight of {metric}", torch.ones_like(values)).double()
    known = ~values.isnan()
    return float((values * weight)[known].sum() / weight[known].sum())
