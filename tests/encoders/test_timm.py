"""Encoders of timm. No pretrained weights are at hand here: drawn ones stand for them."""

from pathlib import Path

import huggingface_hub.constants
import pytest
import timm
import torch

from colorlab.encoders import build_encoder
from colorlab.encoders.timm import TimmEncoder
from colorlab.errors import UserError

NAME = "mobilenetv3_small_050.lamb_in1k"


@pytest.fixture(scope="module")
def classifier() -> torch.nn.Module:
    torch.manual_seed(1)
    return timm.create_model(NAME, pretrained=False).eval()


def test_the_maps_are_those_of_timms_network_for_normalized_pictures(
    classifier: torch.nn.Module, tmp_path: Path
) -> None:
    torch.save(classifier.state_dict(), tmp_path / "weights.pth")
    encoder = build_encoder(NAME).eval()
    encoder.load_pretrained(tmp_path / "weights.pth")
    rgb = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(classifier.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        maps = encoder(rgb)
        _, theirs = classifier.forward_intermediates((rgb - mean) / std)
    assert encoder.strides == (2, 4, 8, 16, 32)
    assert [each.shape[1] for each in maps] == list(encoder.channels)
    assert (maps[-1] - theirs[-1]).abs().max() < 1e-5


def test_cached_weights_are_found_and_nothing_is_downloaded(
    classifier: torch.nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    encoder = build_encoder(NAME)
    with pytest.raises(UserError, match=r"not in timm's cache\. Download them with python -c"):
        encoder.load_pretrained()
    repository = tmp_path / "models--timm--mobilenetv3_small_050.lamb_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("1234")
    snapshot = repository / "snapshots" / "1234"
    snapshot.mkdir(parents=True)
    torch.save(classifier.state_dict(), snapshot / "pytorch_model.bin")
    encoder.load_pretrained()
    trunk = encoder.get_submodule("trunk")
    assert torch.equal(trunk.get_parameter("conv_stem.weight"), classifier.get_parameter("conv_stem.weight"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other\.pth does not hold the weights of mobilenetv3_small_050"):
        build_encoder(NAME).load_pretrained(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("convnext_tin", "did you mean convnext_tiny"),
        ("nonsense_of_mine", r"timm\.list_models\(\) returns the names"),
        ("vit_tiny_patch16_224", "takes pictures of one size only"),
        ("convnext_tiny.nonsense", "has no such weights in timm: did you mean convnext_tiny.in12k"),
    ],
)
def test_a_name_that_cannot_be_an_encoder_gets_one_sentence(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        TimmEncoder(name)
