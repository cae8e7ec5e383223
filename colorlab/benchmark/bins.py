"""The classification objective, against dense targets from `cdist` and from scikit-learn."""

import argparse
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from colorlab.benchmark.measuring import Result, in_fresh_process, now, peak, reset_peak
from colorlab.bins import CENTERS, COUNT, STRIDE
from colorlab.data import ColorDataModule
from colorlab.data.batch import Batch, split_lab
from colorlab.objectives import Classification, Prediction

NEIGHBORS, SIGMA = 5, 5.0

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, 313, h, w], true ab [B, 2, 4h, 4w]) → the soft cross-entropy over the bins."""


class Measurement(NamedTuple):
    """Encoding, loss and gradient of one batch, repeated."""

    seconds: list[float]
    mebibytes: float  # peak memory without the logits, with their gradient
    loss: float


# -- methods -----------------------------------------------------------------------------------------


def _table() -> Loss:
    objective = Classification(NEIGHBORS, SIGMA)

    def loss(logits: Tensor, ab: Tensor) -> Tensor:
        return objective(Prediction(ab, logits), Batch(ab[:, :1], ab, torch.arange(len(ab))))

    return loss


def _dense_cdist() -> Loss:
    def loss(logits: Tensor, ab: Tensor) -> Tensor:
        small = ab[..., ::STRIDE, ::STRIDE]
        distance = torch.cdist(small.movedim(1, -1).flatten(0, 2), CENTERS.to(ab.device))
        return _dense(logits, *distance.topk(NEIGHBORS, largest=False))

    return loss


def _dense_sklearn() -> Loss:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=NEIGHBORS, algorithm="ball_tree").fit(CENTERS.numpy())

    def loss(logits: Tensor, ab: Tensor) -> Tensor:
        small = ab[..., ::STRIDE, ::STRIDE].movedim(1, -1).flatten(0, 2)
        found = (torch.from_numpy(array).to(ab.device) for array in search.kneighbors(small.cpu().numpy()))
        return _dense(logits, *found)

    return loss


def _dense(logits: Tensor, distance: Tensor, index: Tensor) -> Tensor:
    """Compute the cross-entropy with a target over all 313 bins. distance, index: [B·h·w, k]."""
    batch, _, height, width = logits.shape
    weight = (-(distance.float() ** 2) / (2 * SIGMA**2)).exp()
    target = torch.zeros(len(index), COUNT, device=logits.device)
    target.scatter_(1, index, weight / weight.sum(dim=1, keepdim=True))
    target = target.unflatten(0, (batch, height, width)).movedim(-1, 1)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


METHODS = {"colorlab": _table, "cdist + topk, dense target": _dense_cdist, "scikit-learn, dense target": _dense_sklearn}


# -- measurement -------------------------------------------------------------------------------------


def measure(method: str, device: str, batch: int, size: int, repeats: int) -> Measurement:
    """Time one method on built-in photographs; called in a new process, for its peak memory."""
    data = ColorDataModule(size=size * STRIDE, batch_size=batch, workers=0)
    pictures = next(iter(data.reader("train")))
    ab = split_lab(pictures.rgb.to(device), pictures.index).ab
    torch.manual_seed(0)
    logits = torch.randn(len(ab), COUNT, size, size, device=device, requires_grad=True)
    loss = METHODS[method]()
    loss(logits.detach()[:1], ab[:1])  # excludes the one-time setup
    before, seconds = reset_peak(device), []
    for _ in range(repeats):
        logits.grad = None
        began = now(device)
        value = loss(logits, ab)
        value.backward()
        seconds.append(now(device) - began)
    return Measurement(seconds, (peak(device) - before) / 2**20, value.item())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    for name, default, meaning in (
        ("batch", 32, "photographs"), ("size", 64, "side of the logits"),
        ("repeats", 5, "batches a round"), ("rounds", 3, "processes for each method"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")


def run(options: argparse.Namespace) -> Result:
    """Measure all methods alternately, because the speed of machines varies over time."""
    device, batch, size, repeats = options.device, options.batch, options.size, options.repeats
    measured: dict[str, list[Measurement]] = {method: [] for method in METHODS}
    schedule = [method for _ in range(options.rounds) for method in METHODS]
    for method in track(schedule, "Measuring", console=Console(stderr=True), transient=True):
        measured[method].append(in_fresh_process(measure, method, device, batch, size, repeats))
    times = {method: median(second for each in runs for second in each.seconds) for method, runs in measured.items()}
    memory = {method: median(each.mebibytes for each in runs) for method, runs in measured.items()}
    rows = [
        {
            "": method, "median ms": times[method] * 1000, "× colorlab": times[method] / times["colorlab"],
            "MiB beside the logits": memory[method], "× colorlab ": memory[method] / memory["colorlab"],
            "loss": f"{runs[0].loss:.6f}",
        }
        for method, runs in measured.items()
    ]  # fmt: skip
    title = f"soft encoding, loss and gradient of {batch} × {size}² on {device}, {options.rounds}×{repeats} times"
    seconds = {method: [each.seconds for each in runs] for method, runs in measured.items()}
    return Result(title, rows, {"seconds": seconds})
