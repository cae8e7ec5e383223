"""Siggraph17 against the published network: its file, what its released code predicts, and its parts."""

from pathlib import Path

import pytest
import torch

from colorlab.models import Siggraph17
from colorlab.models.weights import read_weights
from support.published import fill, published_layout, reference_predictions


@pytest.fixture(scope="module")
def filled() -> Siggraph17:
    return fill(Siggraph17())


def test_it_has_the_published_names_shapes_and_number_of_parameters(filled: Siggraph17) -> None:
    assert {name: tuple(value.shape) for name, value in filled.state_dict().items()} == published_layout("siggraph17")
    assert sum(parameter.numel() for parameter in filled.parameters()) == 34_187_027


def test_it_predicts_what_the_released_code_predicts(filled: Siggraph17) -> None:
    with torch.no_grad():
        for lightness, ab in reference_predictions("siggraph17"):
            assert ab.std() > 1
            assert (filled(lightness) - ab).abs().max() < 1e-4


def test_published_weights_load_back_bit_for_bit(filled: Siggraph17, tmp_path: Path) -> None:
    torch.save(filled.published_weights(), tmp_path / "siggraph17.pth")
    model = Siggraph17()
    read_weights(model, tmp_path / "siggraph17.pth")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in filled.state_dict().items())


def test_hints_change_the_prediction_where_they_are_given_and_zeros_are_none() -> None:
    model, lightness = Siggraph17(width=4).eval(), torch.rand(1, 1, 16, 24) * 100
    hints = torch.zeros(1, 3, 16, 24)
    with torch.no_grad():
        plain = model.network(lightness)
        assert torch.equal(model.network(lightness, hints), plain)
        hints[:, :, 4, 5] = torch.tensor([60.0, -40.0, 1.0])
        assert not torch.allclose(model.network(lightness, hints), plain)
