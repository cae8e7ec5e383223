"""Flicker of the colors of a film, with and without --steady.

The film is a pan over photographs, in which the motion of each pixel is known. Flicker is the warping error of the
colors: the root mean square distance, in ab units, between the colors of a point in consecutive frames.

Source: E_warp of Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, on ab instead of rgb, and with
the known motion instead of an estimated one.
"""

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import median

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor

from colorlab.benchmark.measuring import Result
from colorlab.color import lab_to_rgb
from colorlab.colorize.flicker import FlickerFilter
from colorlab.data.splits import SAMPLES
from colorlab.metrics import colorfulness_of
from colorlab.models import Colorizer
from colorlab.models.inference import network_input, pixels_of, predict
from colorlab.models.weights import load

WINDOW, STEP = (256, 320), (1, 2)
"""Height and width of a frame, and its motion down and right per frame, in pixels of the network's input."""


def pan(photograph: Path, frames: int, grain: float = 0.0) -> list[Tensor]:
    """Return the L of each frame of a pan, [1, 1, *WINDOW], with film grain of this standard deviation in L."""
    height, width = (window + frames * step for window, step in zip(WINDOW, STEP, strict=True))
    large = Image.open(photograph).convert("L").resize((width, height), Image.Resampling.BICUBIC)
    lightness = network_input(pixels_of(large)[0], min(height, width), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    clean = [
        lightness[..., STEP[0] * n : STEP[0] * n + WINDOW[0], STEP[1] * n : STEP[1] * n + WINDOW[1]]
        for n in range(frames)
    ]
    return [(each + grain * torch.randn(each.shape, generator=generator)).clamp(0, 100) for each in clean]


def flicker(colors: list[Tensor]) -> float:
    """Compute the warping error of the ab of a pan's frames, [1, 2, *WINDOW] each."""
    down, right = STEP
    pairs = pairwise(colors)
    squares = [(now[..., :-down, :-right] - before[..., down:, right:]).square().mean() for before, now in pairs]
    return torch.stack(squares).mean().sqrt().item()


def colorfulness(frames: list[Tensor], colors: list[Tensor]) -> float:
    """Compute the mean colorfulness of the frames; steadying must not make the colors paler."""
    return (
        torch.stack([colorfulness_of(lab_to_rgb(*each)).mean() for each in zip(frames, colors, strict=True)])
        .mean()
        .item()
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("checkpoint", type=Path, help="the model: a checkpoint or a run folder")
    parser.add_argument("--photographs", type=int, default=8, help="number of clips (8)")
    parser.add_argument("--grain", type=float, default=2.0, help="standard deviation of the film's grain, in L (2)")
    parser.add_argument("--frames", type=int, default=24, help="number of frames of each clip (24)")


def run(options: argparse.Namespace) -> Result:
    """Color each clip once, and steady it with different strengths."""
    model: Colorizer = load(options.checkpoint)
    files = sorted(SAMPLES.glob("*.jpg"))
    chosen = files[:: len(files) // options.photographs][: options.photographs]
    measured: dict[float, list[tuple[float, float]]] = {steady: [] for steady in (0.0, 0.5, 0.8, 0.9)}
    for photograph in track(chosen, "Measuring", console=Console(stderr=True), transient=True):
        frames = pan(photograph, options.frames, options.grain)
        predicted = [predict(model, frame) for frame in frames]
        for steady, found in measured.items():
            flicker_filter = FlickerFilter(steady)
            colors = [flicker_filter(frame, ab) for frame, ab in zip(frames, predicted, strict=True)]
            found.append((flicker(colors), colorfulness(frames, colors)))
    rows = []
    for steady, found in measured.items():
        errors, colorful = zip(*found, strict=True)
        ratio = median(error / without for error, (without, _) in zip(errors, measured[0.0], strict=True))
        rows.append(
            {"--steady": steady, "flicker (ab)": median(errors), "× without": ratio, "colorfulness": median(colorful)}
        )
    size = f"{options.frames} frames, {WINDOW[1]}×{WINDOW[0]}, grain {options.grain:g}"
    title = f"{len(chosen)} pans of {size}, by {options.checkpoint}"
    return Result(title, rows, {"photographs": [path.name for path in chosen], "measured": measured})
