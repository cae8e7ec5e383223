"""Soft cross-entropy over the 313 color bins, in which rare colors weigh more."""

from pathlib import Path
from typing import Literal

from torch import Tensor

from colorlab.bins import rebalancing
from colorlab.data.color_histogram import read_prior
from colorlab.errors import UserError
from colorlab.objectives.classification import Classification


class RebalancedClassification(Classification):
    """Soft cross-entropy with weights that grow with the rarity of the true color.

    Args:
        prior: file of the colors' frequencies, from `python -m colorlab.prior`; the training command counts those
            of its own photographs when none is given.
        uniform: λ, the share of the uniform distribution in the frequencies: 0.5 in the paper; 1 weighs all colors
            alike, 0 by the inverse of their frequency.
        k, sigma, target: as for Classification.

    Raises:
        UserError: there is no prior, or a value is out of its range.

    Source: Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, section 2.2.
    """

    weight: Tensor

    def __init__(
        self,
        prior: str | None = None,
        uniform: float = 0.5,
        k: int = 5,
        sigma: float = 5.0,
        target: Literal["pick", "average"] = "pick",
    ) -> None:
        super().__init__(k, sigma, target)
        if prior is None:
            raise UserError("objective.prior is missing: python -m colorlab.prior makes one.")
        if not 0 <= uniform <= 1:
            raise UserError(f"objective.uniform={uniform:g} must lie between 0 and 1.")
        weight = rebalancing(read_prior(Path(prior)), uniform)
        self.register_buffer("weight", weight.float(), persistent=False)

    def importance(self, nearest: Tensor) -> Tensor:
        return self.weight[nearest]
