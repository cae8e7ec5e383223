"""Color your own pictures and films: `python -m colorlab.colorize PATHS… --checkpoint CKPT -o OUT`."""

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from colorlab.command_line import leave
from colorlab.errors import UserError

if TYPE_CHECKING:
    from colorlab.coloring.album import Errand, Failure, How
    from colorlab.models import Colorizer


def colorize(options: argparse.Namespace) -> "list[Failure]":
    """Color what the command line asks for; what could not be, and why.

    Raises:
        UserError: nothing can be colored in this way, or by this checkpoint.
    """
    from PIL import Image

    from colorlab.coloring.album import How, plan
    from colorlab.coloring.picture import check
    from colorlab.models.weights import load
    from colorlab.run_folder import find_checkpoint

    Image.MAX_IMAGE_PIXELS = None  # --megapixels is asked instead
    how = How(**{key: value for key, value in vars(options).items() if key in How.__annotations__})
    errands, failures = plan(options.paths, options.out)
    model = load(find_checkpoint(Path(options.checkpoint).expanduser(), best=True))
    _to_device(model, options.device)
    check(model, how.size, how.saturation, how.temperature)
    if errands:
        failures += _color(errands, model, how)
    return failures


def _to_device(model: "Colorizer", device: str | None) -> None:
    """Bring the model where it shall work: without a word, to a GPU where there is one.

    Raises:
        UserError: there is no such device.
    """
    import torch

    try:
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device} cannot be used here: {str(error).splitlines()[0]}") from error


def _color(errands: "list[Errand]", model: "Colorizer", how: "How") -> "list[Failure]":
    """Color all, showing how far it is, and how quick it was."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from colorlab.coloring.album import color_pictures

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    failures, began = [], time.perf_counter()
    pictures = [errand for errand in errands if not errand.is_film]
    with Progress(*columns, console=console, transient=True) as progress:
        for failure in progress.track(color_pictures(pictures, model, how), len(pictures), description="Coloring"):
            failures += [failure] if failure else []
    seconds, count = time.perf_counter() - began, len(pictures) - len(failures)
    if pictures:
        console.print(f"{count} of {len(pictures)} pictures in {seconds:.1f} s: {count / seconds:.1f} images/s")
    return failures


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="colorlab-colorize", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATHS", help="files, folders, patterns; - is standard input")
    parser.add_argument("--checkpoint", required=True, metavar="CKPT", help="a checkpoint, or a run's folder: its best")
    parser.add_argument("-o", "--out", required=True, help="a folder; for one picture a file, or - (standard output)")
    parser.add_argument("--size", type=int, default=256, help="short side of what the network is shown (256 pixels)")
    parser.add_argument("--guided", action="store_true", help="let color follow the edges of the picture: bleeds less")
    parser.add_argument("--saturation", type=float, default=1.0, help="factor of the color (1)")
    parser.add_argument("--temperature", type=float, help="of models with bins: bolder toward 0 (the model's own)")
    parser.add_argument("--side-by-side", action="store_true", help="put the gray picture beside the colored one")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps … (a GPU where there is one)")
    parser.add_argument("--batch-size", type=int, default=16, help="pictures the network is shown at a time (16)")
    parser.add_argument("--megapixels", type=float, default=200.0, help="larger pictures are refused (200)")
    return parser


def main() -> None:
    """Entry point of `colorlab-colorize`."""
    try:
        failures = colorize(_parser().parse_args())
    except UserError as error:
        leave(error)
    for failure in failures:
        print(f"colorlab: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
