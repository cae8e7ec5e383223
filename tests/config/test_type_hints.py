"""Type hints in words for messages."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from torch import Tensor, nn

from colorlab.config.type_hints import wanted
from colorlab.data.sources import WeightedRoot


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int | None, "a whole number or null"),
        (Annotated[float, "dB"], "a number"),
        (Literal["min", "max"], "one of min, max"),
        (Path | str, "a path or a text"),
        (list[str], "a list of texts"),
        (tuple[float, float], "a list of 2 numbers"),
        (tuple[int, ...], "a list of whole numbers"),
        (list[WeightedRoot] | None, "a list of texts or dictionaries or null"),
        (Sequence[Any], "a list of values"),
        (list, "a list"),
        (Mapping[str, int], "a dictionary"),
        (nn.Module | None, "of type Module or null"),
        (float | Tensor, "a number"),
        (dict[str, nn.Module] | list[nn.Module], "a dictionary or a list of Modules"),
    ],
)
def test_a_type_hint_is_written_in_words(hint: Any, words: str) -> None:
    assert wanted(hint) == words
