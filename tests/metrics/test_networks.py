"""Perceptual networks, and distances between sets of features against their definitions in NumPy and SciPy."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchmetrics
import torchvision
from scipy.linalg import sqrtm
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from colorlab.color import rgb_to_lab
from colorlab.data import ColorDataModule
from colorlab.errors import UserError
from colorlab.metrics import Colored, networks
from colorlab.metrics.networks import (
    Inception,
    Lite0,
    Lpips,
    NotAvailable,
    frechet_distance,
    kernel_distance,
    load_networks,
)


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """24 built-in photographs at 224², in 0..1."""
    data = ColorDataModule(size=224, val_fraction=0.12, test_fraction=0.12, split_seed=1329, workers=0)
    return next(iter(data.reader("test"))).rgb.float() / 255


@pytest.fixture(scope="module")
def features() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return torch.randn(60, 16, generator=random) * 1.5 + 0.3, torch.randn(60, 16, generator=random)


def test_the_frechet_distance_equals_its_formula(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    one, other = (side.double().numpy() for side in features)
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    between = sqrtm(covariances[0] @ covariances[1]).real
    expected = ((one.mean(0) - other.mean(0)) ** 2).sum() + np.trace(covariances[0] + covariances[1] - 2 * between)
    assert frechet_distance(*features) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(features[0], features[0]) == pytest.approx(0, abs=1e-3)


def numpy_kernel_distance(one: np.ndarray, other: np.ndarray) -> float:
    """The unbiased estimate of Bińkowski et al., by loops."""

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / len(x) + 1) ** 3

    count = len(one)
    within = sum(kernel(s[i], s[j]) for s in (one, other) for i in range(count) for j in range(count) if i != j)
    between = sum(kernel(x, y) for x in one for y in other)
    return within / (count * (count - 1)) - 2 * between / count**2


def test_the_kernel_distance_equals_its_formula(features: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = numpy_kernel_distance(*(side.double().numpy() for side in features))
    assert kernel_distance(*features) == pytest.approx(expected, rel=1e-4)


def test_the_kernel_distance_of_many_pictures_is_the_mean_over_subsets(
    features: tuple[torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = kernel_distance(*features)
    monkeypatch.setattr(networks, "KID_SUBSET_SIZE", 40)
    before = torch.random.get_rng_state()
    subsets = kernel_distance(*features)
    assert subsets == kernel_distance(*features) != whole
    assert subsets == pytest.approx(whole, rel=0.1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_lite0_ranks_true_colors_above_pale_ones_above_gray(photographs: torch.Tensor) -> None:
    """The agreement of a picture with itself is 100 %."""
    network, photographs = Lite0(), photographs[:10]
    lightness, ab = rgb_to_lab(photographs)
    with torch.no_grad():
        true = network.features(photographs)
        pictures = {share: Colored(lightness, ab * share, ab).picture for share in (1.0, 0.5, 0.0)}
        found = {
            share: network.compare_pictures(network.features(picture), true) for share, picture in pictures.items()
        }
    distances = [found[share]["lite0_distance"].mean().item() for share in (1.0, 0.5, 0.0)]
    assert distances[0] < 1e-4 < distances[1] < distances[2]
    agreement = [found[share]["lite0_agreement"].mean().item() for share in (1.0, 0.5, 0.0)]
    assert agreement[0] == 100 > agreement[1] >= agreement[2] > 0


def test_lite0_classifies_photographs_with_high_confidence(photographs: torch.Tensor) -> None:
    """Shows that the input is scaled as in the training of the network."""
    network = Lite0()
    with torch.no_grad():
        confidence = network.network.classifier(network.features(photographs)).softmax(dim=1).amax(dim=1)
    assert confidence.median() > 0.4


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the format of torchvision's download."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "own_name.pth"
    torch.save(torchvision.models.alexnet(weights=None).state_dict(), path)
    return path


def test_lpips_equals_its_formula_with_the_weights_at_the_path(alexnet: Path, photographs: torch.Tensor) -> None:
    true = photographs[:2]
    predicted = true.mean(dim=1, keepdim=True).expand_as(true)
    with torch.no_grad():
        found = Lpips(alexnet).compare_pictures(predicted, true)["lpips"]
        layers = torchvision.models.alexnet(weights=None)
        layers.load_state_dict(torch.load(alexnet, weights_only=True))
        folder = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models"
        linear = torch.load(folder / "alex.pth", map_location="cpu", weights_only=True)
        shift, scale = (torch.tensor(row)[:, None, None] for row in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))
        sides = [(side * 2 - 1 - shift) / scale for side in (predicted, true)]
        expected, depth = torch.zeros(2), 0
        for layer in layers.features:
            sides = [layer(side) for side in sides]
            if isinstance(layer, torch.nn.ReLU):
                one, other = (F.normalize(side, dim=1) for side in sides)
                expected += ((one - other) ** 2 * linear[f"lin{depth}.model.1.weight"]).sum(1).mean((1, 2))
                depth += 1
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-3)
    assert Lpips(alexnet).compare_pictures(true, true)["lpips"].tolist() == [0, 0]


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory, alexnet: Path) -> Path:
    """Random weights in the format of torch-fidelity's download."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / Inception.file
    with pytest.MonkeyPatch.context() as patch:  # its constructor always loads weights
        patch.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = FeatureExtractorInceptionV3("random", ["2048"])
    torch.save(network.state_dict(), path)
    return path


def test_fid_and_kid_use_the_weights_at_the_path(inception: Path, photographs: torch.Tensor) -> None:
    network = Inception(inception)
    with torch.no_grad():
        gray = photographs[:3].mean(1, keepdim=True).expand(-1, 3, -1, -1)
        true, gray = (network.features(side) for side in (photographs[:3], gray))
    assert true.shape == (3, 2048)
    gray, true = gray[:, :64], true[:, :64]  # of all 2048 the distance takes seconds
    found = network.compare_sets(gray, true)
    assert found["fid"] > 0
    assert found["fid"] == pytest.approx(frechet_distance(gray, true))
    assert found["kid"] == pytest.approx(
        numpy_kernel_distance(*(side.double().numpy() for side in (gray, true))), rel=1e-2, abs=1e-6
    )


@pytest.mark.parametrize(("kind", "key"), [(Lpips, "alexnet"), (Inception, "inception")])
def test_a_file_without_the_weights_is_refused(kind: type, key: str, alexnet: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not hold"):
        kind(tmp_path / "other.pth")
    with pytest.raises(NotAvailable, match=f"{key}=PATH"):
        kind(tmp_path / "missing.pth")


def test_unavailable_metrics_are_left_out_with_a_reason_or_refused_if_requested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    loaded, left_out = load_networks(None, None, None)
    assert [type(each) for each in loaded] == [Lite0]
    assert set(left_out) == {"lpips", "fid", "kid"}
    assert all(str(tmp_path) in reason for reason in left_out.values())
    with pytest.raises(UserError, match="LPIPS"):
        load_networks(["psnr", "lpips"], None, None)
    with pytest.raises(UserError, match="nowhere"):
        load_networks(None, "/nowhere", None)
    assert load_networks(["psnr"], None, None) == ([], {})


def test_weights_in_torchs_cache_are_found(alexnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.hub.get_dir()
    try:
        torch.hub.set_dir(str(tmp_path))
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / Lpips.file).symlink_to(alexnet)
        loaded, _ = load_networks(["lpips"], None, None)
        assert [type(each) for each in loaded] == [Lpips]
        assert torch.hub.get_dir() == str(tmp_path)
    finally:
        torch.hub.set_dir(before)
