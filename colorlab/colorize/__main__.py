"""Color your own pictures and films: `python -m colorlab.colorize PATHS… --checkpoint CKPT -o OUT`."""

import argparse
import importlib.util
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from colorlab.command_line import leave
from colorlab.errors import UserError
from colorlab.runs.checkpoints import BUILT_IN, find_checkpoint

if TYPE_CHECKING:
    from rich.progress import Progress

    from colorlab.colorize.album import Errand, Failure, How
    from colorlab.models import Colorizer


def colorize(options: argparse.Namespace) -> "list[Failure]":
    """Color what the command line asks for; what could not be, and why.

    Raises:
        UserError: nothing can be colored in this way, or by this checkpoint.
    """
    from colorlab.colorize.album import How, plan
    from colorlab.models.inference import check_options
    from colorlab.models.weights import load

    how = How(**{key: value for key, value in vars(options).items() if key in How.__annotations__})
    errands, failures = plan(options.paths, options.out)
    model = load(find_checkpoint(Path(options.checkpoint).expanduser(), best=True))
    if options.checkpoint == BUILT_IN:
        print("by the small model that comes with colorlab: --checkpoint names one of yours", file=sys.stderr)
    _to_device(model, options.device)
    check_options(model, how.size, how.saturation, how.temperature)
    if how.batch_size < 1:
        raise UserError(f"--batch-size={how.batch_size} must be at least 1.")
    if not 0 <= how.steady < 1:
        raise UserError(f"--steady={how.steady:g} must be at least 0 and below 1.")
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
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from colorlab.colorize.album import color_pictures

    console, failures = Console(stderr=True), []
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    pictures, films = ([errand for errand in errands if errand.is_film == kind] for kind in (False, True))
    with Progress(*columns, console=console, transient=True) as progress:
        if pictures:
            began, done = time.perf_counter(), progress.add_task(f"{len(pictures)} pictures", total=len(pictures))
            with closing(color_pictures(pictures, model, how)) as coloring:  # its threads end with it, come what may
                for failure in coloring:
                    failures += [failure] if failure else []
                    progress.advance(done)
            seconds, count = time.perf_counter() - began, len(pictures) - len(failures)
            console.print(f"{count} of {len(pictures)} pictures in {seconds:.1f} s: {count / seconds:.1f} images/s")
        for film in films:
            failures += _color_film(film, model, how, progress)
    return failures


def _color_film(errand: "Errand", model: "Colorizer", how: "How", progress: "Progress") -> "list[Failure]":
    """Color a film; in a list, why it could not be."""
    from colorlab.colorize.album import Failure, reason_of

    done = progress.add_task(str(errand), total=1)
    try:
        if errand.target is None:
            raise UserError("films are not written to standard output")
        if importlib.util.find_spec("av") is None:
            raise UserError("films need PyAV: pip install 'colorlab[video]'")
        from colorlab.colorize.film import color_film

        for share in color_film(errand.source, errand.target, model, how):
            progress.update(done, completed=share)
    except Exception as error:  # whatever its decoder says; the other films are still done
        return [Failure(str(errand), reason_of(error))]
    finally:
        progress.remove_task(done)
    return []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="colorlab-colorize", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATHS", help="files, folders, patterns; - is standard input")
    parser.add_argument(
        "--checkpoint",
        default=BUILT_IN,
        metavar="CKPT",
        help="a file, or a run's folder: its best (a small one that comes with colorlab)",
    )
    parser.add_argument("-o", "--out", required=True, help="a folder; for one picture a file, or - (standard output)")
    parser.add_argument("--size", type=int, default=256, help="short side of what the network is shown (256 pixels)")
    parser.add_argument("--guided", action="store_true", help="let color follow the edges of the picture: bleeds less")
    parser.add_argument("--saturation", type=float, default=1.0, help="factor of the color (1)")
    parser.add_argument("--temperature", type=float, help="of models with bins: bolder toward 0 (the model's own)")
    parser.add_argument("--side-by-side", action="store_true", help="put the gray picture beside the colored one")
    parser.add_argument("--steady", type=float, default=0.8, help="films: share of the frame before in a color (0.8)")
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
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it; what is there is whole, and a film goes on where it was
    for failure in failures:
        print(f"colorlab: {failure}", file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
