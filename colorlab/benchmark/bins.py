"""Zhang's objective, against dense targets made by `cdist` and by scikit-learn."""

import argparse
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from colorlab.benchmark.measuring import Result, in_a_fresh_process, now, peak, reset_peak
from colorlab.bins import CENTERS, COUNT, STRIDE
from colorlab.data import ColorDataModule
from colorlab.data.batch import split_lab
from colorlab.objectives import Classification

NEIGHBORS, SIGMA = 5, 5.0

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits [B, 313, h, w], true ab [B, 2, 4h, 4w]) → the soft cross-entropy over the bins."""


class Measurement(NamedTuple):
    """Of encode, loss and gradient of one batch."""

    seconds: list[float]
    mebibytes: float  # the most that was held beside the logits, their gradient included
    loss: float


# -- the ways ----------------------------------------------------------------------------------------


def _table() -> Loss:
    return Classification(NEIGHBORS, SIGMA)


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
    """The cross-entropy with a target of all 313 bins. distance, index: [B·h·w, k]."""
    batch, _, height, width = logits.shape
    weight = (-(distance.float() ** 2) / (2 * SIGMA**2)).exp()
    target = torch.zeros(len(index), COUNT, device=logits.device)
    target.scatter_(1, index, weight / weight.sum(dim=1, keepdim=True))
    target = target.unflatten(0, (batch, height, width)).movedim(-1, 1)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()


WAYS = {"colorlab": _table, "cdist + topk, dense target": _dense_cdist, "scikit-learn, dense target": _dense_sklearn}


# -- measured ----------------------------------------------------------------------------------------


def measure(way: str, device: str, batch: int, size: int, repeats: int) -> Measurement:
    """Time one way on built-in photographs; called in a process of its own, for its peak of memory."""
    data = ColorDataModule(size=size * STRIDE, batch_size=batch, workers=0)
    pictures = next(iter(data.reader("train")))
    ab = split_lab(pictures.rgb.to(device), pictures.index).ab
    torch.manual_seed(0)
    logits = torch.randn(len(ab), COUNT, size, size, device=device, requires_grad=True)
    loss = WAYS[way]()
    loss(logits.detach()[:1], ab[:1])  # what is made once is not counted
    before, seconds = reset_peak(device), []
    for _ in range(repeats):
        logits.grad = None
        began = now(device)
        value = loss(logits, ab)
        value.backward()
        seconds.append(now(device) - began)
    return Measurement(seconds, (peak(device) - before) / 2**20, value.item())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What of it can be chosen."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    for name, default, meaning in (
        ("batch", 32, "photographs"), ("size", 64, "side of the logits"),
        ("repeats", 5, "batches a round"), ("rounds", 3, "processes for each way"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")


def run(options: argparse.Namespace) -> Result:
    """Encode, loss and gradient of a batch: all ways, each round in turn, as machines are noisy."""
    device, batch, size, repeats = options.device, options.batch, options.size, options.repeats
    measured: dict[str, list[Measurement]] = {way: [] for way in WAYS}
    turns = [way for _ in range(options.rounds) for way in WAYS]
    for way in track(turns, "Measuring", console=Console(stderr=True), transient=True):
        measured[way].append(in_a_fresh_process(measure, way, device, batch, size, repeats))
    times = {way: median(second for one in all_of for second in one.seconds) for way, all_of in measured.items()}
    memory = {way: median(one.mebibytes for one in all_of) for way, all_of in measured.items()}
    rows = [
        {
            "": way, "median ms": times[way] * 1000, "× colorlab": times[way] / times["colorlab"],
            "MiB beside the logits": memory[way], "× colorlab ": memory[way] / memory["colorlab"],
            "loss": f"{all_of[0].loss:.6f}",
        }
        for way, all_of in measured.items()
    ]  # fmt: skip
    title = f"soft encoding, loss and gradient of {batch} × {size}² on {device}, {options.rounds}×{repeats} times"
    return Result(title, rows, {"seconds": {way: [one.seconds for one in all_of] for way, all_of in measured.items()}})
