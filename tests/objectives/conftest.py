"""Photographs and their prior, for the tests of the objectives."""

import pytest
import torch
from torch import Tensor

from colorlab.data.batch import split_lab
from colorlab.data.color_histogram import write_prior
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.images.decoding import read_photograph


@pytest.fixture(scope="module")
def ab() -> Tensor:
    """Four real photographs at 64²."""
    names = find_photographs(SAMPLES)[7::50][:4]
    crops = [read_photograph(SAMPLES / name)[None, :, 60:124, 60:124] for name in names]
    return split_lab(torch.cat(crops), torch.arange(4)).ab


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory, ab: Tensor) -> str:
    place = (ab.round().long() + 128).unbind(dim=1)
    histogram = torch.bincount((place[0] * 256 + place[1]).flatten(), minlength=65536).reshape(256, 256)
    path = tmp_path_factory.mktemp("prior") / "prior.npz"
    write_prior(path, histogram)
    return str(path)
