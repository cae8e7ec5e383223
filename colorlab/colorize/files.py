"""Color files: find them, load the model, and show the progress."""

import importlib.util
import sys
import time
from contextlib import closing
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from colorlab.colorize.finished import Finished
from colorlab.colorize.jobs import Failure, Job, Options, plan_jobs
from colorlab.colorize.pictures import color_pictures
from colorlab.colorize.pieces import fingerprints
from colorlab.errors import UserError, how_to_install, printable
from colorlab.files import remove_dead_parts
from colorlab.images.failures import explain_failure
from colorlab.models.colorizer import Colorizer
from colorlab.models.inference import check_options
from colorlab.models.weights import load
from colorlab.runs.checkpoints import BUILT_IN
from colorlab.runs.weight_files import checkpoint_typed_as


def color_files(paths: list[str], out: str, checkpoint: str, device: str | None, options: Options) -> list[Failure]:
    """Color pictures and films; return those that failed.

    Args:
        paths, out: see `plan_jobs`.
        checkpoint: a file, or a run's folder for its best checkpoint.
        device: of torch; None is a GPU if there is one.
        options: how to color them.

    Raises:
        UserError: nothing can be colored with these arguments.
    """
    jobs, failures = plan_jobs(paths, out)
    with checkpoint_typed_as("--checkpoint "):
        model = load(Path(checkpoint).expanduser())
    if checkpoint == BUILT_IN:
        print("by the small model that comes with colorlab: --checkpoint names one of yours", file=sys.stderr)
    _move_to_device(model, device)
    check_options(model, options.size, options.saturation, options.temperature)
    if jobs:
        finished = Finished(Path(out).expanduser(), fingerprints(model, options))
        failures += _color_with_progress(jobs, model, options, finished)
        for folder in {job.target.parent for job in jobs if job.target}:
            remove_dead_parts(folder)
    return failures


def _move_to_device(model: Colorizer, device: str | None) -> None:
    try:
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device} cannot be used here: {str(error).splitlines()[0]}") from error


def _color_with_progress(jobs: list[Job], model: Colorizer, options: Options, finished: Finished) -> list[Failure]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    pictures, films = ([job for job in jobs if job.is_film == is_film] for is_film in (False, True))
    failures: list[Failure] = []
    with Progress(*columns, console=console, transient=True) as progress:
        if pictures:
            started, task = time.perf_counter(), progress.add_task(f"{len(pictures)} pictures", total=len(pictures))
            results = color_pictures(pictures, model, options, finished)
            with closing(results):  # ends its threads on any exception
                for failure in results:
                    failures += [failure] if failure else []
                    progress.advance(task)
            seconds, count = time.perf_counter() - started, len(pictures) - len(failures) - len(finished.skipped)
            console.print(f"{count} of {len(pictures)} pictures in {seconds:.1f} s: {count / seconds:.1f} images/s")
        for film in films:
            failures += _color_film(film, model, options, progress, finished)
    if finished.skipped:
        console.print(f"finished before: {len(finished.skipped)} (--force colors them again)")
    return failures


def _color_film(job: Job, model: Colorizer, options: Options, progress: Progress, finished: Finished) -> list[Failure]:
    """Color a film; return at most one failure."""
    task = progress.add_task(escape(printable(str(job))), total=1)
    try:
        if job.source is None or job.target is None:
            raise UserError("films are not written to standard output")
        if importlib.util.find_spec("av") is None:
            raise UserError(f"films need PyAV: {how_to_install('video')}")
        from colorlab.colorize.film import color_film

        for share in color_film(job.source, job.target, model, options, finished):
            progress.update(task, completed=share)
    except Exception as error:  # whatever a decoder raises: the other films are still colored
        return [Failure(str(job), explain_failure(error))]
    finally:
        progress.remove_task(task)
    return []
