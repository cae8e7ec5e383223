"""The colors of photographs, counted, and the prior of the color bins computed from them."""

import logging
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from platformdirs import user_cache_path
from rich.progress import track
from torch import Tensor

from colorlab.bins import CENTERS, COUNT, prior_of_histogram
from colorlab.color import has_color
from colorlab.data.arrays import NotArrays, read_arrays
from colorlab.data.batch import split_lab
from colorlab.data.cache import FORMAT
from colorlab.data.datamodule import ColorDataModule
from colorlab.data.splits import Part, fingerprint
from colorlab.errors import UserError
from colorlab.files import atomic_path

SHAPES = {"histogram": (256, 256), "prior": (COUNT,)}
"""The arrays of a prior's file."""

LARGEST = 2**22
"""Bytes that a prior's file may unpack to; it takes an eighth of them."""

log = logging.getLogger(__name__)


def cached_prior(data: ColorDataModule, split: Part = "train") -> Path:
    """Return the prior file of a split's photographs; count their colors first unless that was done before."""
    name = fingerprint(data.root, data.files(split), data.size, FORMAT)
    path = user_cache_path("colorlab") / "priors" / f"{name}.npz"
    if path.exists():
        try:
            _read(path)
        except UserError:
            log.warning("%s is damaged: the colors are counted again.", path)
            path.unlink(missing_ok=True)
    if not path.exists():
        write_prior(path, count_colors(data, split))
    return path


def count_colors(data: ColorDataModule, split: Part = "train") -> Tensor:
    """Count the colors of a split's photographs on the device; gray pictures are left out.

    Returns:
        histogram: [256, 256] int64, the number of pixels with rounded a = row − 128, b = column − 128.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    histogram = torch.zeros(256 * 256, dtype=torch.int64, device=device)
    for pictures in track(data.reader(split), "Counting colors", transient=True):
        ab = split_lab(pictures.rgb.to(device), pictures.index).ab
        ab = ab[has_color(ab)]
        place = (ab.round().long() + 128).clamp(0, 255)
        histogram += torch.bincount((place[:, 0] * 256 + place[:, 1]).flatten(), minlength=256 * 256)
    return histogram.reshape(256, 256).cpu()


def write_prior(path: Path, histogram: Tensor) -> None:
    """Save a histogram of colors and the prior computed from it, atomically.

    Args:
        path: the .npz file.
        histogram: [256, 256] int64, as `count_colors` returns it.

    Raises:
        UserError: the histogram is empty, or the file cannot be written.
    """
    if not histogram.sum():
        raise UserError("There is no color to count in these photographs.")
    try:
        with atomic_path(path, shared=True) as part, part.open("wb") as file:
            np.savez_compressed(file, histogram=histogram.numpy(), prior=prior_of_histogram(histogram).numpy())
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}).") from error


def read_prior(path: Path) -> Tensor:
    """Read the prior from a file of `write_prior`.

    Returns:
        prior: [313] float64, which sums to 1.

    Raises:
        UserError: the file is missing or holds no prior.
    """
    return torch.from_numpy(_read(path, "prior")["prior"].astype(np.float64))


def _read(path: Path, *names: str) -> dict[str, np.ndarray]:
    """Read the arrays of a prior's file by their names; all of them if none is given."""
    if not path.is_file():
        raise UserError(f"There is no prior at {path}: python -m colorlab.prior makes one.")
    try:
        arrays = read_arrays(path, names or SHAPES, LARGEST)
    except NotArrays as error:
        raise UserError(f"{path} is not a prior made by python -m colorlab.prior, or is damaged ({error}).") from error
    for name, found in arrays.items():
        numbers = found.shape == SHAPES[name] and found.dtype.kind in "iuf"
        if not numbers or not np.isfinite(found).all() or found.min() < 0 or not 0 < found.sum() < np.inf:
            raise UserError(f"{path} does not hold a prior of {COUNT} bins.")
    return arrays


def draw_prior(path: Path, picture: Path) -> None:
    """Draw the histogram in a prior's file on the ab plane, and beside it the prior of each bin."""
    histogram, prior = _read(path).values()
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    counted, binned = figure.subplots(1, 2, sharex=True, sharey=True)
    share = np.ma.masked_equal(histogram.T / histogram.sum(), 0)
    image = counted.imshow(share, norm=LogNorm(), origin="lower", extent=(-128.5, 127.5, -128.5, 127.5))
    figure.colorbar(image, ax=counted, label="share of the pixels")
    occurs = prior > 0
    dots = binned.scatter(*CENTERS[occurs].T, c=prior[occurs], s=26, marker="s", norm=LogNorm())
    binned.scatter(*CENTERS[~occurs].T, s=26, marker="s", facecolors="none", edgecolors="0.6", linewidths=0.5)
    figure.colorbar(dots, ax=binned, label="prior of the bin")
    for axes, title in ((counted, "colors counted"), (binned, "the 313 bins, smoothed")):
        axes.set(title=title, xlabel="a*  (green – red)", ylabel="b*  (blue – yellow)", aspect="equal")
        axes.set(xlim=(-115, 115), ylim=(-125, 115))
    figure.savefig(picture, dpi=100)
