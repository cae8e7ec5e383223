"""The split into L and ab."""

import torch

from colorlab.color import rgb_to_lab
from colorlab.data.batch import split_lab


def test_a_batch_is_l_and_ab_of_the_pictures() -> None:
    rgb, index = torch.rand(3, 3, 8, 8), torch.tensor([5, 0, 2])
    batch = split_lab(rgb, index)
    L, ab = rgb_to_lab(rgb)
    assert torch.equal(batch.L, L)
    assert torch.equal(batch.ab, ab)
    assert torch.equal(batch.index, index)
    assert batch.hints is None
