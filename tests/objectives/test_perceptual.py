"""The perceptual objective against the networks' own features."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import vgg16_bn

from colorlab.color import lab_to_rgb
from colorlab.data.batch import Batch
from colorlab.encoders import Lite0
from colorlab.errors import UserError
from colorlab.objectives import Perceptual, Prediction
from colorlab.objectives.pictures import true_picture

WEIGHTS = (0.0625, 0.125, 0.25, 0.5, 1.0)


def batch_of(ab: Tensor) -> Batch:
    return Batch(torch.rand_like(ab[:, :1]) * 100, ab, torch.arange(len(ab)))


@pytest.fixture(scope="module")
def vgg() -> nn.Sequential:
    """VGG16's convolutions up to conv5_1 with random weights, and statistics of BatchNorm that are not 0 and 1."""
    with torch.device("meta"):
        features = vgg16_bn().features[:35]
    features = features.to_empty(device="cpu").eval()
    torch.manual_seed(0)
    for name, tensor in features.state_dict().items():
        if tensor.dim() == 4:
            nn.init.kaiming_normal_(tensor)
        elif tensor.is_floating_point():
            nn.init.uniform_(tensor, *((0.5, 1.5) if "var" in name or "weight" in name else (-0.1, 0.1)))
    return features


@pytest.fixture(scope="module")
def vgg_file(vgg: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Its weights as torchvision publishes them, with a layer of the classifier, in a cache like torch's."""
    path = tmp_path_factory.mktemp("hub") / "checkpoints" / "vgg16_bn-6c64b313.pth"
    path.parent.mkdir()
    weights = {f"features.{name}": tensor for name, tensor in vgg.state_dict().items()}
    torch.save(weights | {"classifier.6.bias": torch.zeros(1000)}, path)
    yield path
    shutil.rmtree(path.parent)


def features_of(vgg: nn.Sequential, rgb: Tensor) -> list[Tensor]:
    """Return what the convolutions after the pools return, by hooks."""
    found: list[Tensor] = []
    hooks = [
        vgg[place].register_forward_hook(lambda layer, given, output: found.append(output.clone()))
        for place in (0, 7, 14, 24, 34)
    ]
    assert all(isinstance(vgg[place - 1], nn.MaxPool2d) for place in (7, 14, 24, 34))
    vgg((rgb - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None])
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize(("loss", "difference"), [("l1", nn.L1Loss()), ("mse", nn.MSELoss())])
def test_with_vgg16_it_equals_the_released_formula(
    ab: Tensor, vgg: nn.Sequential, vgg_file: Path, loss: str, difference: nn.Module
) -> None:
    batch, predicted = batch_of(ab[:2]), ab[:2].flip(3)
    objective = Perceptual("vgg16_bn", str(vgg_file), loss=loss, target_color=1.2)
    with torch.no_grad():
        found, expected = (features_of(vgg, rgb) for rgb in (lab_to_rgb(batch.L, predicted), true_picture(batch, 1.2)))
        terms = [weight * difference(*maps) for weight, *maps in zip(WEIGHTS, found, expected, strict=True)]
        assert objective(Prediction(predicted), batch).item() == pytest.approx(sum(terms).item(), rel=1e-4)
    assert [each.shape[1:] for each in found] == [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4)]


def test_with_lite0_it_compares_the_five_maps_of_the_encoder(ab: Tensor) -> None:
    lite0 = Lite0()
    lite0.load_pretrained(None)
    lite0.eval()
    batch, predicted = batch_of(ab), ab / 2
    with torch.no_grad():
        found, expected = (lite0(lab_to_rgb(batch.L, each)) for each in (predicted, ab))
        terms = [weight * nn.functional.l1_loss(*maps) for weight, *maps in zip(WEIGHTS, found, expected, strict=True)]
        assert Perceptual()(Prediction(predicted), batch).item() == pytest.approx(sum(terms).item(), rel=1e-5)
        assert Perceptual()(Prediction(ab), batch).item() < 1e-6


def test_gradient_steps_bring_the_colors_nearer_and_leave_the_network_alone(ab: Tensor) -> None:
    batch, predicted = batch_of(ab[:1]), torch.zeros_like(ab[:1], requires_grad=True)
    objective = Perceptual()
    before = {name: tensor.clone() for name, tensor in objective.state_dict().items()}
    optimizer, losses = torch.optim.Adam([predicted], 1.0), []
    for _ in range(10):
        optimizer.zero_grad()
        losses.append(objective(Prediction(predicted), batch))
        losses[-1].backward()
        assert predicted.grad.isfinite().all()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    torch.testing.assert_close(objective.state_dict(), before, rtol=0, atol=0)
    assert not any(weight.requires_grad for weight in objective.parameters())


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (64, 40)])
def test_pictures_of_any_size_from_32_are_compared(size: tuple[int, int]) -> None:
    ab = torch.rand(1, 2, *size) * 50
    assert Perceptual()(Prediction(ab / 2), batch_of(ab)).isfinite()
    with pytest.raises(UserError, match="at least 32×32, not 31×64"):
        Perceptual()(Prediction(torch.zeros(1, 2, 31, 64)), batch_of(torch.zeros(1, 2, 31, 64)))


def test_under_autocast_the_loss_is_float32_and_about_the_same(ab: Tensor) -> None:
    objective, batch = Perceptual(), batch_of(ab)
    with torch.no_grad():
        expected = objective(Prediction(ab / 2), batch)
        with torch.autocast("cpu", torch.bfloat16):
            found = objective(Prediction(ab / 2), batch)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=0.05)


# -- weights -----------------------------------------------------------------------------------------


def test_the_weights_of_vgg16_are_found_in_torchs_cache(vgg_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(vgg_file.parents[1]))
    cached, named = Perceptual("vgg16_bn"), Perceptual("vgg16_bn", str(vgg_file))
    torch.testing.assert_close(cached.state_dict(), named.state_dict(), rtol=0, atol=0)


def test_missing_and_wrong_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match=r"no weights of VGG16 in .*checkpoints: put torchvision's vgg16_bn-\*\.pth"):
        Perceptual("vgg16_bn")
    with pytest.raises(UserError, match="There is no checkpoint at /nowhere"):
        Perceptual("vgg16_bn", "/nowhere.pth")
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not hold the weights of torchvision's vgg16_bn"):
        Perceptual("vgg16_bn", str(tmp_path / "other.pth"))
    with pytest.raises(UserError, match="takes weights=FILE with network=vgg16_bn"):
        Perceptual(weights="/nowhere.pth")
