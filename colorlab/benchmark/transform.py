"""From a batch of uint8 pictures on the device to (L, ab), against kornia's crop and Lab."""

import argparse
from collections.abc import Callable
from statistics import median

import torch
from kornia.color import rgb_to_lab
from kornia.geometry.transform import crop_and_resize
from rich.console import Console
from rich.progress import track
from torch import Tensor

from colorlab.benchmark.measuring import Result, now
from colorlab.color import exact
from colorlab.data import ColorDataModule
from colorlab.data.augmentation import RandomCropFlip
from colorlab.data.batch import split_lab

Method = Callable[[Tensor, Tensor], object]
"""(rgb [B, 3, H, W] uint8, index [B]) → L and ab."""

AUGMENT = RandomCropFlip()


def _kornia(rgb: Tensor, index: Tensor) -> Tensor:
    with exact(rgb.device):
        return rgb_to_lab(rgb.float() / 255)


def _kornia_augmented(rgb: Tensor, index: Tensor) -> Tensor:
    """Crop with kornia, with a random generator for each picture, then convert with kornia."""
    height, width = rgb.shape[-2:]
    boxes, flips = [], []
    for picture in index.tolist():
        area, shape, down, along, flip = torch.rand(5, generator=torch.Generator().manual_seed(picture)).tolist()
        area, shape = 0.5 + area / 2, 0.75 * (16 / 9) ** shape
        high, wide = (
            min(height, round((area / shape) ** 0.5 * height)),
            min(width, round((area * shape) ** 0.5 * width)),
        )
        top, left = int(down * (height - high + 1)), int(along * (width - wide + 1))
        bottom, right = top + high - 1, left + wide - 1
        boxes.append([[left, top], [right, top], [right, bottom], [left, bottom]])
        flips.append(flip < 0.5)
    crops = crop_and_resize(
        rgb.float() / 255, torch.tensor(boxes, dtype=torch.float32, device=rgb.device), (height, width)
    )
    flipped = torch.tensor(flips, device=rgb.device)[:, None, None, None]
    with exact(rgb.device):
        return rgb_to_lab(torch.where(flipped, crops.flip(-1), crops))


METHODS: dict[str, dict[str, Method]] = {
    "split": {"colorlab": split_lab, "kornia": _kornia},
    "crop, flip and split": {
        "colorlab": lambda rgb, index: split_lab(AUGMENT(rgb, index, 0, 0), index),
        "kornia": _kornia_augmented,
    },
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    for name, default, meaning in (
        ("batch", 32, "photographs"), ("size", 256, "side of the pictures"), ("rounds", 7, "batches with each method"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")


def run(options: argparse.Namespace) -> Result:
    """Process one batch with all methods alternately."""
    data = ColorDataModule(size=options.size, batch_size=options.batch, workers=0)
    pictures = next(iter(data.reader("train")))
    rgb, index = pictures.rgb.to(options.device), pictures.index.to(options.device)
    pairs = [(work, method) for work, methods in METHODS.items() for method in methods]
    seconds: dict[tuple[str, str], list[float]] = {pair: [] for pair in pairs}
    for round_ in track(range(options.rounds + 1), "Measuring", console=Console(stderr=True), transient=True):
        for (work, method), measured in seconds.items():
            began = now(options.device)
            METHODS[work][method](rgb, index)
            if round_ > 0:  # excludes the one-time setup
                measured.append(now(options.device) - began)
    times = {key: median(measured) for key, measured in seconds.items()}
    rows = [
        {
            "": work, " ": method, "median ms a batch": time * 1000, "ms a picture": time * 1000 / len(rgb),
            "× colorlab": time / times[work, "colorlab"],
        }
        for (work, method), time in times.items()
    ]  # fmt: skip
    title = f"{len(rgb)} pictures of {options.size}² on {options.device}, {torch.get_num_threads()} threads"
    return Result(title, rows, {"seconds": [{"work": key[0], "way": key[1], "of": of} for key, of in seconds.items()]})
