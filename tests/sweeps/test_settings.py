"""The keys of the group `sweep`."""

from typing import Any

import pytest

from colorlab.errors import UserError
from colorlab.sweeps.settings import GridSettings, SearchSettings, check_settings

SEARCH = {"metric": "val/psnr", "space": {"optim.lr": "interval(1e-4,1e-2)", "seed": None}}


def test_settings_with_a_space_are_of_a_search() -> None:
    assert check_settings({"metric": None}) == GridSettings(metric=None)
    assert check_settings(SEARCH | {"trials": 3}) == SearchSettings("val/psnr", SEARCH["space"], trials=3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "sweep.metric is missing"),
        ({"metric": 5}, "sweep.metric=5 must be a text or null."),
        ({"metric": None, "trials": 3}, "Unknown key sweep.trials"),
        (SEARCH | {"trails": 3}, "Unknown key sweep.trails: did you mean sweep.trials?"),
        (SEARCH | {"trials": "many"}, "sweep.trials=many must be a whole number."),
        (SEARCH | {"space": {"+hydra.job.env_set.X": "1"}}, "sweep.space.+hydra.job.env_set.X is not searched"),
        (SEARCH | {"space": {"data@hydra.callbacks": "x"}}, "sweep.space.data@hydra.callbacks is not searched"),
        (SEARCH | {"at_once": 0}, "sweep.at_once=0 must be at least 1."),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        check_settings(settings)
    assert str(error.value).startswith(message)
