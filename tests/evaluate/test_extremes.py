"""The extremes kept batch by batch, against a sort of all pictures."""

import pytest
import torch

from colorlab.evaluate.extremes import Extremes
from colorlab.metrics import Colored

METRICS = ("psnr", "ciede2000", "colorfulness")


@pytest.fixture
def values() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {name: torch.rand(60, generator=random) * 40 for name in (*METRICS, "true")}


def fill(extremes: Extremes, values: dict[str, torch.Tensor], order: list[int]) -> Extremes:
    for batch in torch.tensor(order).split(7):
        pictures = torch.zeros(len(batch), 2, 16, 16)
        colored = Colored(batch.float().reshape(-1, 1, 1, 1).expand(-1, 1, 16, 16), pictures, pictures)
        record = {name: values[name][batch] for name in METRICS}
        extremes.update(batch.tolist(), record, values["true"][batch], colored)
    return extremes


def test_the_extremes_equal_a_sort_of_all_pictures(values: dict[str, torch.Tensor]) -> None:
    extremes = fill(Extremes(4), values, list(range(60)))
    assert extremes.best("psnr") == values["psnr"].argsort(descending=True)[:4].tolist()
    assert extremes.worst("psnr") == values["psnr"].argsort()[:4].tolist()
    assert extremes.best("ciede2000") == values["ciede2000"].argsort()[:4].tolist()
    away = (values["colorfulness"] - values["true"]).abs()
    assert extremes.best("colorfulness") == away.argsort()[:4].tolist()
    assert extremes.worst("colorfulness") == away.argsort(descending=True)[:4].tolist()
    assert len(extremes.pictures) <= 2 * 4 * len(METRICS)
    for photograph, pictures in extremes.pictures.items():
        assert list(pictures) == ["true", "gray", "predicted"]
        shade = Colored(torch.full((1, 1, 1, 1), float(photograph)), *[torch.zeros(1, 2, 1, 1)] * 2).picture
        assert pictures["true"].getpixel((3, 3))[0] == pytest.approx(shade[0, 0].item() * 255, abs=1)


def test_merged_halves_equal_the_whole(values: dict[str, torch.Tensor]) -> None:
    whole = fill(Extremes(4), values, list(range(60)))
    even, odd = (fill(Extremes(4), values, list(range(start, 60, 2))) for start in (0, 1))
    even.merge(odd)
    for name in METRICS:
        assert (even.best(name), even.worst(name)) == (whole.best(name), whole.worst(name))
    assert even.pictures.keys() == whole.pictures.keys()


def test_pictures_without_a_value_are_not_ranked(values: dict[str, torch.Tensor]) -> None:
    values["psnr"][::2] = torch.nan
    extremes = fill(Extremes(10), values, list(range(20)))
    assert sorted(extremes.best("psnr")) == list(range(1, 20, 2))
