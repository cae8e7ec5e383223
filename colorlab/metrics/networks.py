"""Perceptual metrics: pretrained networks whose features of predicted pictures and photographs are compared.

A network is used if its weights are available: in an installed package, in torch's cache, or in a file that the
user names. Nothing is downloaded.
"""

import importlib.util
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image import FrechetInceptionDistance, KernelInceptionDistance, LearnedPerceptualImagePatchSimilarity

from colorlab.color import from_float
from colorlab.encoders import Lite0Classifier
from colorlab.errors import UserError, how_to_install
from colorlab.runs.weight_files import read_checkpoint

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000


class NotAvailable(UserError):
    """A network's weights or package are missing; the message says how to get them."""


class PerceptualNetwork(ABC):
    """A pretrained network whose features give metrics, in float32.

    Attributes:
        picture_metrics: the names of the metrics that `compare_pictures` returns.
        set_metrics: the names of the metrics that `compare_sets` returns.
        network: in evaluation mode, on the device of the pictures.
    """

    picture_metrics: tuple[str, ...] = ()
    set_metrics: tuple[str, ...] = ()
    network: nn.Module

    @abstractmethod
    def features(self, rgb: Tensor) -> Tensor:
        """Compute the features of pictures, [B, 3, H, W] in 0..1: [B, …]."""

    def compare_pictures(self, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Compute metrics of each picture from its features and the photograph's: {name: [B]}."""
        return {}

    def compare_sets(self, predicted: Tensor, true: Tensor) -> dict[str, float]:
        """Compute metrics of a set from the features of its pictures and of the photographs, [N, D] each."""
        return {}


class Lite0(PerceptualNetwork):
    """EfficientNet-Lite0, an ImageNet classifier whose weights are installed with colorlab.

    lite0_distance is the cosine distance between the 1280 pooled features of the picture and of the photograph;
    lite0_kid the kernel distance (Bińkowski et al. 2018) between their distributions; lite0_agreement is Zhang's
    semantic score: how often, in percent, the classifier predicts the same class for both.
    """

    picture_metrics = ("lite0_distance", "lite0_agreement")
    set_metrics = ("lite0_kid",)
    network: Lite0Classifier
    side = 224

    def __init__(self) -> None:
        self.network = Lite0Classifier().eval()
        self.network.load_pretrained()

    def features(self, rgb: Tensor) -> Tensor:
        """Compute the pooled features: [B, 1280]."""
        small = F.interpolate(rgb, (self.side, self.side), mode="bilinear", antialias=True).clamp(0, 1)
        return self.network.pooled(small)

    def compare_pictures(self, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
        predicted_class, true_class = (self.network.classifier(each).argmax(dim=1) for each in (predicted, true))
        distance = (1 - F.cosine_similarity(predicted, true)).clamp(min=0)
        return {"lite0_distance": distance, "lite0_agreement": (predicted_class == true_class).float() * 100}

    def compare_sets(self, predicted: Tensor, true: Tensor) -> dict[str, float]:
        return {"lite0_kid": kernel_distance(predicted, true)}


class Lpips(PerceptualNetwork):
    """LPIPS with AlexNet (Zhang et al., "The unreasonable effectiveness of deep features", 2018).

    Args:
        weights: torchvision's AlexNet; None looks in torch's cache.

    Raises:
        NotAvailable: there is no such file.
        UserError: the file holds something else.
    """

    picture_metrics = ("lpips",)
    file = "alexnet-owt-7be5be79.pth"

    def __init__(self, weights: Path | None) -> None:
        path = _find_weights(weights, self.file, "LPIPS", "alexnet")
        read_checkpoint(path)  # checks that the file holds tensors only; torchvision does not
        try:
            with _torch_cache_of(path, self.file):
                self.network = LearnedPerceptualImagePatchSimilarity("alex", normalize=True).net.eval()
        except RuntimeError as error:
            raise UserError(f"{path} does not hold torchvision's AlexNet.") from error

    def features(self, rgb: Tensor) -> Tensor:
        """Return the pictures: LPIPS computes its features of both pictures at once."""
        return rgb

    def compare_pictures(self, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
        return {"lpips": self.network(predicted, true, normalize=True).reshape(-1)}


class Inception(PerceptualNetwork):
    """The Inception network of FID (Heusel et al. 2017) and KID (Bińkowski et al. 2018).

    Args:
        weights: torch-fidelity's copy of the TensorFlow weights; None looks in torch's cache.

    Raises:
        NotAvailable: there is no such file, or the package torch-fidelity is not installed.
        UserError: the file holds something else.
    """

    set_metrics = ("fid", "kid")
    file = "weights-inception-2015-12-05-6726825d.pth"

    def __init__(self, weights: Path | None) -> None:
        path = _find_weights(weights, self.file, "FID and KID", "inception")
        if importlib.util.find_spec("torch_fidelity") is None:
            raise NotAvailable(f"FID and KID need torch-fidelity: {how_to_install('perceptual')}.")
        read_checkpoint(path)  # checks that the file holds tensors only; torch-fidelity does not
        try:
            self.network = FrechetInceptionDistance(feature_extractor_weights_path=str(path)).inception
        except RuntimeError as error:
            raise UserError(f"{path} does not hold torch-fidelity's Inception.") from error

    def features(self, rgb: Tensor) -> Tensor:
        """Compute the features after the last pooling: [B, 2048]."""
        return self.network(from_float(rgb, torch.uint8))

    def compare_sets(self, predicted: Tensor, true: Tensor) -> dict[str, float]:
        return {"fid": frechet_distance(predicted, true), "kid": kernel_distance(predicted, true)}


def load_networks(
    names: list[str] | None, alexnet: str | None, inception: str | None
) -> tuple[list[PerceptualNetwork], dict[str, str]]:
    """Load the networks that metrics need.

    Args:
        names: the metrics, all of which must be available; None for all that are.
        alexnet, inception: weights of LPIPS, and of FID and KID; None looks in torch's cache.

    Returns:
        The networks, and for each metric that was left out the reason.

    Raises:
        UserError: a metric that was requested by name, or a file that was named, is not available.
    """
    files = {Lpips: alexnet, Inception: inception}
    makers: dict[type[PerceptualNetwork], Callable[[], PerceptualNetwork]] = {
        Lite0: Lite0,
        Lpips: lambda: Lpips(Path(alexnet).expanduser() if alexnet else None),
        Inception: lambda: Inception(Path(inception).expanduser() if inception else None),
    }
    networks: list[PerceptualNetwork] = []
    left_out: dict[str, str] = {}
    for kind, make in makers.items():
        metrics = kind.picture_metrics + kind.set_metrics
        if names is not None and not set(metrics) & set(names):
            continue
        try:
            networks.append(make())
        except NotAvailable as error:
            if names is not None or files.get(kind):
                raise
            left_out |= dict.fromkeys(metrics, str(error))
    return networks, left_out


def _find_weights(given: Path | None, name: str, metric: str, key: str) -> Path:
    path = given or Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    raise NotAvailable(f"there are no weights for {metric} at {path}: put {name} there, or name it with {key}=PATH.")


@contextmanager
def _torch_cache_of(path: Path, name: str) -> Iterator[None]:
    """Make a file the weights of this name in torch's cache."""
    before = torch.hub.get_dir()
    with TemporaryDirectory() as folder:
        (cache := Path(folder) / "checkpoints").mkdir()
        (cache / name).symlink_to(path.resolve())
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)


# -- distances between sets of features --------------------------------------------------------------


class _Precomputed(nn.Identity):
    """Replaces torchmetrics' feature network: the features are computed already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(predicted: Tensor, true: Tensor) -> float:
    """Compute the Fréchet distance between two sets of features, [N, D] each."""
    distance = FrechetInceptionDistance(_Precomputed(predicted.shape[1]), sync_on_compute=False).set_dtype(
        torch.float64
    )
    distance.update(true.double(), real=True)
    distance.update(predicted.double(), real=False)
    return float(distance.compute())


def kernel_distance(predicted: Tensor, true: Tensor) -> float:
    """Compute the kernel distance between two sets of features, [N, D] each; unbiased, so it may be negative.

    Up to 1000 pictures are compared at once; of more, the mean over 100 random subsets of 1000 is taken, as usual.
    """
    small = len(true) <= KID_SUBSET_SIZE
    subsets, size = (1, len(true)) if small else (KID_SUBSETS, KID_SUBSET_SIZE)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that it stores all features
        distance = KernelInceptionDistance(_Precomputed(predicted.shape[1]), subsets, size, sync_on_compute=False)
        torch.manual_seed(0)
        distance.update(true, real=True)
        distance.update(predicted, real=False)
        return float(distance.compute()[0])
