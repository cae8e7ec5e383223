"""Measure colorlab against what people use: `python -m colorlab.benchmark bins`."""

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from colorlab.bins import CENTERS, COUNT, STRIDE
from colorlab.data import ColorDataModule
from colorlab.data.device import split_lab
from colorlab.objectives import Classification

NEIGHBORS, SIGMA = 5, 5.0
LINUX = sys.platform == "linux"

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
    before, seconds = _reset_peak(device), []
    for _ in range(repeats):
        logits.grad = None
        began = _now(device)
        value = loss(logits, ab)
        value.backward()
        seconds.append(_now(device) - began)
    return Measurement(seconds, (_peak(device) - before) / 2**20, value.item())


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _reset_peak(device: str) -> int:
    """Forget the peak of memory up to now, where the system can; return what is held."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif LINUX:
        Path("/proc/self/clear_refs").write_text("5")
    return _peak(device)


def _peak(device: str) -> int:
    """The most memory held at once, in bytes: of the device, or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    if LINUX:
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def bins(device: str, batch: int, size: int, repeats: int, rounds: int) -> Table:
    """Encode, loss and gradient of a batch: the table of all ways, each round in turn, as machines are noisy."""
    measured: dict[str, list[Measurement]] = {way: [] for way in WAYS}
    turns = [way for _ in range(rounds) for way in WAYS]
    for way in track(turns, "Measuring", console=Console(stderr=True), transient=True):
        with multiprocessing.get_context("spawn").Pool(1) as process:
            measured[way].append(process.apply(measure, (way, device, batch, size, repeats)))
    table = Table(title=f"soft encoding, loss and gradient of {batch} × {size}² on {device}, {rounds}×{repeats} times")
    for heading in ("", "median ms", "× colorlab", "MiB beside the logits", "× colorlab", "loss"):
        table.add_column(heading, justify="left" if not heading else "right")
    times = {way: median(second for one in all_of for second in one.seconds) for way, all_of in measured.items()}
    memory = {way: median(one.mebibytes for one in all_of) for way, all_of in measured.items()}
    for way, all_of in measured.items():
        slower, larger = times[way] / times["colorlab"], memory[way] / memory["colorlab"]
        cells = (f"{times[way] * 1000:.0f}", f"{slower:.1f}", f"{memory[way]:.0f}", f"{larger:.1f}")
        table.add_row(way, *cells, f"{all_of[0].loss:.6f}")
    return table


def main() -> None:
    """Entry point of `colorlab-benchmark`."""
    parser = argparse.ArgumentParser(prog="colorlab-benchmark", description=__doc__)
    what = parser.add_subparsers(required=True, metavar="WHAT")
    of_bins = what.add_parser("bins", help="Zhang's objective against dense targets (needs scikit-learn)")
    of_bins.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    for name, default, meaning in (
        ("batch", 32, "photographs"), ("size", 64, "side of the logits"),
        ("repeats", 5, "batches a round"), ("rounds", 3, "processes for each way"),
    ):  # fmt: skip
        of_bins.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")
    Console(width=120).print(bins(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
