"""Speed and memory of coloring photographs, against the released demo's method."""

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

from colorlab.benchmark.measuring import Result, in_fresh_process, peak, reset_peak
from colorlab.colorize.jobs import Job, Options
from colorlab.colorize.pictures import color_pictures
from colorlab.data.splits import SAMPLES
from colorlab.models import ECCV16, Colorizer
from colorlab.models.weights import load

SIZES = {"500 pixels": (500, 375), "12 megapixels": (4000, 3000), "100 megapixels": (11_600, 8700)}
"""Width and height of the photographs."""


class Case(NamedTuple):
    """What one process measures."""

    method: str
    size: str  # of SIZES
    number: int


class Measurement(NamedTuple):
    """The time from files to files, for all photographs of a case."""

    seconds: float
    mebibytes: float  # peak memory above that at the start


# -- methods -----------------------------------------------------------------------------------------


def _colorlab(model: Colorizer, photographs: list[Path], out: Path) -> None:
    jobs = [Job(path, out / path.name, keep_suffix=False) for path in photographs]
    for failure in color_pictures(jobs, model, Options()):
        if failure is not None:
            raise RuntimeError(str(failure))


@torch.no_grad()
def _demo(model: Colorizer, photographs: list[Path], out: Path) -> None:
    """Color photographs one by one as the released demo does: PIL resizes, scikit-image converts."""
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


DEMO = "the demo's method"
METHODS = {"colorlab": _colorlab, DEMO: _demo}


# -- measurement -------------------------------------------------------------------------------------


def measure(case: Case, checkpoint: Path | None, device: str) -> Measurement:
    """Time one method; called in a new process, for its peak memory."""
    torch.manual_seed(0)
    model = load(checkpoint) if checkpoint else ECCV16().eval()
    model = model.to(device)
    color = METHODS[case.method]
    with tempfile.TemporaryDirectory() as folder:
        warm_up, out = Path(folder, "warm_up"), Path(folder, "out")
        for made in (warm_up, out):
            made.mkdir()
        color(model, sample_photographs(Path(folder), (256, 256), 1), warm_up)  # excludes the one-time setup
        photographs = sample_photographs(Path(folder), SIZES[case.size], case.number)
        before, began = reset_peak(), time.perf_counter()
        color(model, photographs, out)
        return Measurement(time.perf_counter() - began, (peak() - before) / 2**20)


def sample_photographs(folder: Path, size: tuple[int, int], count: int) -> list[Path]:
    """Write built-in photographs at another size as gray JPEGs; return their paths."""
    paths = [folder / f"{size[0]}_{number}.jpg" for number in range(count)]
    for path, photograph in zip(paths, sorted(SAMPLES.glob("*.jpg")), strict=False):
        Image.open(photograph).convert("L").resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--checkpoint", type=Path, help="the model (an untrained eccv16, as fast as a trained one)")
    for name, default, meaning in (
        ("small", 16, "photographs of 500 pixels a process"), ("large", 3, "of 12 megapixels"),
        ("huge", 1, "of 100 megapixels, by colorlab alone; 0 for none"), ("rounds", 3, "processes for each"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")


def run(options: argparse.Namespace) -> Result:
    """Measure all cases alternately, because the speed of machines varies over time."""
    numbers = dict(zip(SIZES, (options.small, options.large, options.huge), strict=True))
    cases = [Case(method, size, number) for size, number in numbers.items() for method in METHODS if number]
    cases = [case for case in cases if case.size != "100 megapixels" or case.method == "colorlab"]
    measured: dict[Case, list[Measurement]] = {case: [] for case in cases}
    for case in track(cases * options.rounds, "Measuring", console=Console(stderr=True), transient=True):
        measured[case].append(in_fresh_process(measure, case, options.checkpoint, options.device))
    speed = {case: case.number / median(each.seconds for each in found) for case, found in measured.items()}
    memory = {case: median(each.mebibytes for each in found) for case, found in measured.items()}
    rows = []
    for case in cases:
        demo = case._replace(method=DEMO)
        rows.append(
            {
                "photographs": f"{case.number} × {case.size}", "": case.method, "images/s": speed[case],
                "× the demo's method": speed[case] / speed[demo] if demo in speed else None,
                "peak MiB": memory[case],
                "× the demo's method ": memory[case] / memory[demo] if demo in memory else None,
            }
        )  # fmt: skip
    model = options.checkpoint or "an untrained eccv16"
    title = f"gray JPEG to colored JPEG by {model} on {options.device}, {options.rounds} times"
    return Result(title, rows, {"seconds": {" ".join(map(str, case)): measured[case] for case in cases}})
