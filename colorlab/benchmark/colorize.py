"""Coloring photographs, against the way of the released demo; and the memory that a very large one takes."""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.progress import track

from colorlab.benchmark.measuring import Result, in_a_fresh_process, peak, reset_peak
from colorlab.colorize.album import Errand, How, color_pictures
from colorlab.data.splits import SAMPLES
from colorlab.models import ECCV16, Colorizer
from colorlab.models.weights import load
from colorlab.runs.checkpoints import find_checkpoint

SIZES = {"500 pixels": (500, 375), "12 megapixels": (4000, 3000), "100 megapixels": (11_600, 8700)}
"""Width and height of the photographs."""


class Turn(NamedTuple):
    """What one process measures."""

    way: str
    photographs: str  # of SIZES
    count: int


class Measurement(NamedTuple):
    """Of all photographs of a turn, from file to file."""

    seconds: float
    mebibytes: float  # the most that the process held beyond what it began with


# -- the ways ----------------------------------------------------------------------------------------


def _colorlab(model: Colorizer, photographs: list[Path], out: Path) -> None:
    errands = [Errand(path, out / path.name, as_named=False) for path in photographs]
    for failure in color_pictures(errands, model, How()):
        if failure is not None:
            raise RuntimeError(str(failure))


@torch.no_grad()
def _demo(model: Colorizer, photographs: list[Path], out: Path) -> None:
    """One after the other, as the released demo is described: PIL resizes, scikit-image converts."""
    from skimage.color import lab2rgb, rgb2lab

    device = next(model.parameters()).device
    for path in photographs:
        rgb = np.asarray(Image.open(path).convert("RGB"))
        small = np.asarray(Image.fromarray(rgb).resize((256, 256), Image.Resampling.BICUBIC))
        own, shown = (torch.from_numpy(rgb2lab(picture)[..., 0]).float()[None, None] for picture in (rgb, small))
        ab = F.interpolate(model(shown.to(device)).cpu(), own.shape[-2:], mode="bilinear")
        colored = lab2rgb(torch.cat([own, ab], dim=1)[0].movedim(0, -1).numpy())
        picture = Image.fromarray((colored.clip(0, 1) * 255).astype(np.uint8))
        picture.save(out / path.name, quality=95, subsampling=0)


WAYS = {"colorlab": _colorlab, "the demo's way": _demo}


# -- measured ----------------------------------------------------------------------------------------


def measure(turn: Turn, checkpoint: Path | None, device: str) -> Measurement:
    """Time one way; called in a process of its own, for its peak of memory."""
    torch.manual_seed(0)
    model = load(find_checkpoint(checkpoint, best=True)) if checkpoint else ECCV16().eval()
    model = model.to(device)
    color = WAYS[turn.way]
    with tempfile.TemporaryDirectory() as folder:
        warm_up, out = Path(folder, "warm_up"), Path(folder, "out")
        for made in (warm_up, out):
            made.mkdir()
        color(model, _photographs(Path(folder), (256, 256), 1), warm_up)  # what is made once is not counted
        photographs = _photographs(Path(folder), SIZES[turn.photographs], turn.count)
        before, began = reset_peak(), time.perf_counter()
        color(model, photographs, out)
        return Measurement(time.perf_counter() - began, (peak() - before) / 2**20)


def _photographs(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Built-in photographs at another size, as gray JPEGs."""
    paths = [folder / f"{size[0]}_{number}.jpg" for number in range(count)]
    for path, photograph in zip(paths, sorted(SAMPLES.glob("*.jpg")), strict=False):
        Image.open(photograph).convert("L").resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What of it can be chosen."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--checkpoint", type=Path, help="who colors (an untrained eccv16: as quick as a trained one)")
    for name, default, meaning in (
        ("small", 16, "photographs of 500 pixels a process"), ("large", 3, "of 12 megapixels"),
        ("huge", 1, "of 100 megapixels, by colorlab alone; 0 for none"), ("rounds", 3, "processes for each"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")


def run(options: argparse.Namespace) -> Result:
    """Measure all; each round in turn, as machines are noisy."""
    counts = dict(zip(SIZES, (options.small, options.large, options.huge), strict=True))
    turns = [Turn(way, name, count) for name, count in counts.items() for way in WAYS if count]
    turns = [turn for turn in turns if turn.photographs != "100 megapixels" or turn.way == "colorlab"]
    measured: dict[Turn, list[Measurement]] = {turn: [] for turn in turns}
    for turn in track(turns * options.rounds, "Measuring", console=Console(stderr=True), transient=True):
        measured[turn].append(in_a_fresh_process(measure, turn, options.checkpoint, options.device))
    speed = {turn: turn.count / median(one.seconds for one in all_of) for turn, all_of in measured.items()}
    memory = {turn: median(one.mebibytes for one in all_of) for turn, all_of in measured.items()}
    rows = []
    for turn in turns:
        demo = turn._replace(way="the demo's way")
        rows.append(
            {
                "photographs": f"{turn.count} × {turn.photographs}", "": turn.way, "images/s": speed[turn],
                "× the demo's way": speed[turn] / speed[demo] if demo in speed else None,
                "peak MiB": memory[turn], "× the demo's way ": memory[turn] / memory[demo] if demo in memory else None,
            }
        )  # fmt: skip
    who = options.checkpoint or "an untrained eccv16"
    title = f"gray JPEG to colored JPEG by {who} on {options.device}, {options.rounds} times"
    return Result(title, rows, {"seconds": {" ".join(map(str, turn)): measured[turn] for turn in turns}})
