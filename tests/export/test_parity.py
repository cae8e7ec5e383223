"""The comparison of a written file with its model."""

import pytest
import torch

from colorlab.export.parity import difference
from colorlab.models import CUNet


@pytest.mark.parametrize("error", [7.0, torch.nan])
@pytest.mark.parametrize("batch", [1, 3])  # the photograph, the crops
def test_the_difference_covers_photograph_and_crops_and_propagates_nan(error: float, batch: int) -> None:
    model = CUNet(width=2).eval()
    found = difference(model, lambda L: model(L) + error * (len(L) == batch))
    assert found == pytest.approx(error, abs=1e-3, nan_ok=True)
