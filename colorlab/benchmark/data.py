"""From files to (L, ab), against loaders of other projects, reimplemented from their descriptions."""

import argparse
import importlib.util
import os
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from colorlab.benchmark.measuring import Result, now
from colorlab.data import ColorDataModule
from colorlab.data.batch import split_lab
from colorlab.data.photographs import Pictures, resize
from colorlab.errors import UserError, how_to_install

Cache = Literal["none", "disk"]
Lab = tuple[Tensor, Tensor]
"""L [B, 1, size, size] and ab [B, 2, size, size], float32, in CIE units."""


class Task(NamedTuple):
    """What every loader does: read all photographs of a folder once."""

    root: str | None
    size: int
    batch: int
    workers: int
    device: str
    cache_dir: str | None = None


class Measurement(NamedTuple):
    """One pass over the photographs."""

    pictures: int
    seconds: float
    mean: list[float]  # of L, a and b


# -- loaders -----------------------------------------------------------------------------------------

EVERY = 32
"""The step, across and down, between the pixels whose mean is compared between the loaders."""

READY = torch.empty(0), torch.empty(0)
"""What every loader yields first, after its one-time setup."""


def _colorlab(task: Task, cache: Cache = "none", every: int = 1) -> Iterator[Lab]:
    """Read with colorlab; `every` = 32 splits few pixels, which measures the workers' part where a GPU splits."""
    data = ColorDataModule(
        task.root, task.size, task.batch, val_fraction=0, test_fraction=0,
        workers=task.workers, cache=cache, cache_dir=task.cache_dir,
    )  # fmt: skip
    loader = data.loader(data.photographs["train"])
    yield READY
    for pictures in loader:
        rgb = pictures.rgb[..., ::every, ::every].to(task.device, non_blocking=True)
        batch = split_lab(rgb, pictures.index)
        yield batch.L, batch.ab


class Files(Dataset):
    """Photographs, each read by a function of its path."""

    def __init__(self, task: Task, read: Callable[[str, int], Lab | Tensor]) -> None:
        data = ColorDataModule(task.root, val_fraction=0, test_fraction=0)
        self.paths = [os.path.join(str(data.root), name) for name in data.names["train"]]
        self.size, self.read = task.size, read

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Lab | Tensor:
        return self.read(self.paths[index], self.size)


def _per_sample(read: Callable[[str, int], Lab], workers: bool = True) -> Callable[[Task], Iterator[Lab]]:
    """Make a loader that does all of the work in the dataset, as most projects do."""

    def load(task: Task) -> Iterator[Lab]:
        loader = DataLoader(Files(task, read), task.batch, num_workers=task.workers if workers else 0)
        yield READY
        for lightness, ab in loader:
            yield lightness.to(task.device), ab.to(task.device)

    return load


def _pillow_skimage(path: str, size: int) -> Lab:
    """Read with PIL's bicubic resize and scikit-image: the report's loader, and the usual tutorial's."""
    from skimage.color import rgb2lab

    picture = Image.open(path).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    lab = torch.from_numpy(rgb2lab(np.array(picture)).astype("float32")).permute(2, 0, 1)
    return lab[:1], lab[1:]


def _cv2(path: str, size: int) -> Lab:
    """Read with OpenCV in floating point, as DDColor's loader does."""
    import cv2

    cv2.setNumThreads(1)
    picture = cv2.imread(path, cv2.IMREAD_COLOR)
    if picture is None:
        raise UserError(f"OpenCV cannot read {path}.")
    resized = cv2.resize(picture.astype(np.float32) / 255, (size, size))
    lab = torch.from_numpy(cv2.cvtColor(resized, cv2.COLOR_BGR2Lab).transpose(2, 0, 1).copy())
    return lab[:1], lab[1:]


TO_TENSOR = v2.Compose([v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])


def _pillow_rgb(path: str, size: int) -> Tensor:
    with Image.open(path) as picture:
        return TO_TENSOR(v2.functional.resize(picture.convert("RGB"), [size, size], v2.InterpolationMode.BICUBIC))


def _torch_masks(task: Task) -> Iterator[Lab]:
    """Read with PIL, then compute both branches of Lab's curves and mask them, as colorization-pytorch does."""
    loader = DataLoader(Files(task, _pillow_rgb), task.batch, num_workers=task.workers)
    yield READY
    for batch in loader:
        rgb = batch.to(task.device)
        mask = (rgb > 0.04045).float()
        red, green, blue = ((((rgb + 0.055) / 1.055) ** 2.4) * mask + rgb / 12.92 * (1 - mask)).split(1, dim=1)
        x = (0.412453 * red + 0.357580 * green + 0.180423 * blue) / 0.95047
        y = 0.212671 * red + 0.715160 * green + 0.072169 * blue
        z = (0.019334 * red + 0.119193 * green + 0.950227 * blue) / 1.08883
        xyz = torch.cat((x, y, z), dim=1)
        mask = (xyz > 0.008856).float()
        x, y, z = (xyz ** (1 / 3) * mask + (7.787 * xyz + 16 / 116) * (1 - mask)).split(1, dim=1)
        yield 116 * y - 16, torch.cat((500 * (x - y), 200 * (y - z)), dim=1)


LOADERS: dict[str, Callable[[Task], Iterator[Lab]]] = {
    "colorlab": _colorlab,
    "colorlab, data.cache=disk": lambda task: _colorlab(task, "disk"),
    "colorlab, up to the bytes for a GPU": lambda task: _colorlab(task, every=EVERY),
    "colorlab, disk, up to the bytes": lambda task: _colorlab(task, "disk", EVERY),
    "the report's: PIL + skimage, one process": _per_sample(_pillow_skimage, workers=False),
    "the tutorial's: PIL + skimage, workers": _per_sample(_pillow_skimage),
    "DDColor's: cv2": _per_sample(_cv2),
    "colorization-pytorch's: PIL, Lab by masks": _torch_masks,
}


# -- measurement -------------------------------------------------------------------------------------


def measure(loader: str, task: Task) -> Measurement:
    """Time one pass over the photographs."""
    clock = partial(now, task.device, alone=task.workers == 0)
    with tempfile.TemporaryDirectory() as folder:
        batches = LOADERS[loader](task._replace(cache_dir=folder))
        next(batches)
        pictures, total, began = 0, torch.zeros(3), clock()
        for lightness, ab in batches:
            pictures += len(lightness)
            step = EVERY if lightness.shape[-1] == task.size else 1
            lab = torch.cat((lightness[..., ::step, ::step], ab[..., ::step, ::step]), dim=1)
            total += lab.mean(dim=(2, 3)).sum(dim=0).cpu()
        return Measurement(pictures, clock() - began, (total / pictures).tolist())


PARTS = "read and decode", "resize", "join", "split"


def parts(task: Task) -> dict[str, float]:
    """Return the seconds per photograph of each part of colorlab's loading, in one process."""
    data = ColorDataModule(task.root, size=None, batch_size=1, val_fraction=0, test_fraction=0, workers=0)
    photographs, clock = data.photographs["train"], partial(now, task.device, alone=True)
    spent = dict.fromkeys(PARTS, 0.0)
    for first in range(0, len(photographs), task.batch):
        marks = [clock()]
        places = range(first, min(first + task.batch, len(photographs)))
        read = [photographs.look(place).rgb for place in places]
        marks.append(clock())
        resized = [resize(rgb, task.size) for rgb in read if rgb is not None]
        marks.append(clock())
        samples = [Pictures(rgb[None], torch.tensor([place]), []) for place, rgb in enumerate(resized)]
        batch = photographs.collate(samples).rgb.to(task.device)
        marks.append(clock())
        split_lab(batch, torch.arange(len(batch)))
        marks.append(clock())
        for part, (begun, ended) in zip(PARTS, pairwise(marks), strict=True):
            spent[part] += (ended - begun) / len(photographs)
    return spent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--root", help="the folder of the photographs (the built-in ones)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    for name, default, meaning in (
        ("size", 256, "side of the pictures"), ("batch", 32, "photographs a batch"),
        ("rounds", 3, "passes with each loader"),
        ("workers", 0, "processes that read; 0 does everything on one core"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")


def run(options: argparse.Namespace) -> Result:
    """Measure all loaders alternately, because the speed of machines varies over time."""
    for package in ("cv2", "skimage"):
        if importlib.util.find_spec(package) is None:
            raise UserError(f"This compares with {package}: {how_to_install('benchmark')}.")
    task = Task(options.root, options.size, options.batch, options.workers, options.device)
    torch.set_num_threads(1)
    measured: dict[str, list[Measurement]] = {loader: [] for loader in LOADERS}
    schedule = [loader for _ in range(options.rounds) for loader in measured]
    for loader in track(schedule, "Measuring", console=Console(stderr=True), transient=True):
        measured[loader].append(measure(loader, task))
    rates = {loader: median(one.pictures / one.seconds for one in runs) for loader, runs in measured.items()}
    rows = [
        {
            "": loader, "images/s": rates[loader],
            "× the tutorial's": rates[loader] / rates["the tutorial's: PIL + skimage, workers"],
            "mean L, a, b": ", ".join(f"{mean:.1f}" for mean in runs[0].mean),
        }
        for loader, runs in measured.items()
    ]  # fmt: skip
    spent = [parts(task) for _ in range(options.rounds)]
    share = {part: median(one[part] / sum(one.values()) for one in spent) for part in PARTS}
    note = "colorlab's time: " + ", ".join(f"{part} {value:.0%}" for part, value in share.items())
    where = f"{options.workers} workers" if options.workers else "one core"
    count = measured["colorlab"][0].pictures
    title = f"files to (L, ab) at {options.size}², {count} photographs, {where}, split on {options.device}"
    facts = {"measured": {loader: [one._asdict() for one in runs] for loader, runs in measured.items()}, "parts": spent}
    return Result(title, rows, facts, note)
