"""What each network costs: parameters, and the time and memory of a picture in training and in coloring."""

import argparse
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import nn

from colorlab.benchmark.measuring import Result, in_fresh_process, now, peak, reset_peak
from colorlab.models import ECCV16, Colorizer, CUNet, DDColor, Siggraph17, UNet
from colorlab.models.parameter_groups import freeze_groups

MODELS: dict[str, Callable[[], Colorizer]] = {
    "eccv16": ECCV16, "cunet": CUNet, "siggraph17": Siggraph17, "unet": UNet, "ddcolor": DDColor,
    "ddcolor size=large": partial(DDColor, size="large"),
}  # fmt: skip
"""The networks at their published size."""


class Case(NamedTuple):
    """What one process measures: pictures of size × size, all of a batch at once."""

    model: str
    training: bool
    size: int
    batch: int
    rounds: int
    device: str
    threads: int


class Cost(NamedTuple):
    """The median time and the peak memory of a picture, and the parameters of the network."""

    seconds: float
    mebibytes: float
    parameters: int
    trained: int


def measure(case: Case) -> Cost:
    """Measure one network, in a process that does nothing else.

    The peak memory of training includes the gradients and Adam's two moments.
    """
    torch.set_num_threads(case.threads)
    torch.manual_seed(0)
    model = MODELS[case.model]().to(case.device).train(case.training)
    freeze_groups(model)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    lightness = torch.rand(case.batch, 1, case.size, case.size, device=case.device) * 100
    before = reset_peak(case.device)
    step = _training_step(model, trained, lightness) if case.training else partial(_color, model, lightness)
    seconds = []
    for _ in range(case.rounds + 1):
        began = now(case.device)
        step()
        seconds.append(now(case.device) - began)
    return Cost(
        median(seconds[1:]) / case.batch,
        (peak(case.device) - before) / case.batch / 2**20,
        sum(weight.numel() for weight in model.parameters()),
        sum(weight.numel() for weight in trained),
    )


def _training_step(model: Colorizer, trained: list[nn.Parameter], lightness: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.Adam(trained)
    ab = torch.randn(len(lightness), 2, *lightness.shape[-2:], device=lightness.device) * 20

    def step() -> None:
        optimizer.zero_grad()
        (model(lightness) - ab).abs().mean().backward()
        optimizer.step()

    return step


@torch.no_grad()
def _color(model: Colorizer, lightness: torch.Tensor) -> None:
    model(lightness)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    cuda = torch.cuda.is_available()
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=list(MODELS), help="all of them")
    parser.add_argument("--device", default="cuda" if cuda else "cpu", choices=("cpu", "cuda"))
    for name, default, meaning in (
        ("size", 256, "side of the pictures"), ("batch", 4, "pictures at once"), ("rounds", 3, "that are timed"),
        ("threads", torch.get_num_threads(), "of the CPU"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")


def run(options: argparse.Namespace) -> Result:
    """Measure each network in training and in coloring."""
    settings = (options.size, options.batch, options.rounds, options.device, options.threads)
    rows = []
    for name in track(options.model, "Measuring", console=Console(stderr=True), transient=True):
        training, coloring = (in_fresh_process(measure, Case(name, kind, *settings)) for kind in (True, False))
        rows.append({
            "model": name, "parameters": training.parameters / 1e6, "trained": training.trained / 1e6,
            "training ms": training.seconds * 1e3, "training MiB": training.mebibytes,
            "coloring ms": coloring.seconds * 1e3, "coloring MiB": coloring.mebibytes,
        })  # fmt: skip
    title = f"a picture of {options.size}², {options.batch} at once, on {options.device}; parameters in millions"
    return Result(title, rows, {"options": {**vars(options), "json": None}})
