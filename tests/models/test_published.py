"""Published files as checkpoints: recognized by their tensors' names and shapes, in every form they come in."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import colorlab
from colorlab.errors import UserError
from colorlab.models import ECCV16, Colorizer, DDColor, Siggraph17
from colorlab.models.published import PUBLISHED, recognize

BUILDS: dict[str, Callable[[], Colorizer]] = {
    "eccv16": ECCV16, "siggraph17": Siggraph17, "ddcolor_tiny": partial(DDColor, "tiny"),
}  # fmt: skip


def same(one: Colorizer, other: Colorizer) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][name], states[1][name]) for name in states[0]
    )


@pytest.mark.parametrize("name", BUILDS)
def test_a_published_file_is_loaded_without_the_name_of_its_model(name: str, tmp_path: Path) -> None:
    model = BUILDS[name]()
    torch.save(model.state_dict(), tmp_path / "release.pth")
    loaded = colorlab.load(tmp_path / "release.pth")
    assert type(loaded) is type(model)
    assert dict(loaded.hparams) == dict(model.hparams)
    assert not loaded.training
    assert same(loaded, model)


def test_weights_are_found_in_params_and_in_a_bare_safetensors_file(tmp_path: Path) -> None:
    model = Siggraph17()
    torch.save({"params": model.state_dict()}, tmp_path / "pytorch_model.bin")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "model.safetensors")
    for file in ("pytorch_model.bin", "model.safetensors"):
        assert same(colorlab.load(tmp_path / file), model)


def test_weights_that_fit_no_published_network_are_not_recognized(tmp_path: Path) -> None:
    with torch.device("meta"):
        complete, narrow = Siggraph17().state_dict(), ECCV16(width=2).state_dict()
    one_less = {name: value for name, value in complete.items() if name != "model_out.0.bias"}
    one_more = complete | {"extra": torch.zeros(1)}
    other_shape = complete | {"model_out.0.bias": torch.zeros(3)}
    for weights in (one_less, one_more, other_shape, narrow, {}, complete | {"extra": 3}, 3):
        assert recognize(weights) is None
    assert recognize(complete) is not None
    torch.save(ECCV16(width=2).state_dict(), tmp_path / "narrow.pth")
    with pytest.raises(UserError, match="does not say which model it holds"):
        colorlab.load(tmp_path / "narrow.pth")


def test_every_network_with_a_published_layout_is_recognized() -> None:
    builds = (*BUILDS.values(), partial(DDColor, "large"))
    with torch.device("meta"):
        models = [build() for build in builds]
        assert [each.build().hparams for each in PUBLISHED] == [model.hparams for model in models]
    for model in models[:3]:  # the large one would take a gigabyte
        found = recognize(model.state_dict())
        assert (type(found), found.hparams) == (type(model), model.hparams)
