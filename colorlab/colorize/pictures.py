"""Color many picture files: threads read, decode, encode and write them, around one network."""

import io
import os
import sys
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from colorlab.colorize.batching import BatchingPredictor, PixelBudget
from colorlab.colorize.finished import Finished
from colorlab.colorize.jobs import Failure, Job, Options
from colorlab.colorize.targets import Targets
from colorlab.colorize.threads import picture_threads
from colorlab.errors import UserError
from colorlab.images.failures import explain_failure
from colorlab.images.frames import Frame, PictureFile
from colorlab.images.picture_files import format_to_write, open_picture, write_picture
from colorlab.models.colorizer import Colorizer
from colorlab.models.inference import apply_color, input_of, pixels_of
from colorlab.process.screen import write_result

PIXELS_IN_FLIGHT = 2**26
"""Pixels decoded at a time over all threads; a larger picture is processed alone."""


def color_pictures(
    jobs: list[Job], model: Colorizer, options: Options, finished: Finished | None = None
) -> Generator[Failure | None, None, None]:
    """Color picture files; yield a failure or None for each as it is done.

    Threads read, decode, encode and write while the calling thread runs the network.

    Args:
        jobs: the files.
        model: the network.
        options: how to color them.
        finished: which results an earlier call has written; those are left as they are.
    """
    predictor, budget = BatchingPredictor(model, options), PixelBudget(PIXELS_IN_FLIGHT)
    workers = min(len(jobs), options.batch_size, (os.cpu_count() or 1) + 1)
    targets = Targets(options.force, finished)
    with picture_threads(max(1, workers), "picture") as pool:
        try:
            for job in jobs:
                future = pool.submit(_failure_of, job, predictor, budget, options, targets)
                future.add_done_callback(predictor.events.put)
            for future in predictor.serve(len(jobs)):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            predictor.close()


def _failure_of(
    job: Job, predictor: BatchingPredictor, budget: PixelBudget, options: Options, targets: Targets
) -> Failure | None:
    """Color a file and return why it failed, if so: as a text, since an exception would hold the decoded picture."""
    try:
        _color_file(job, predictor, budget, options, targets)
    except BrokenPipeError:  # nobody reads standard output any more
        raise
    except Exception as error:
        return Failure(str(job), explain_failure(error))
    return None


def _color_file(
    job: Job, predictor: BatchingPredictor, budget: PixelBudget, options: Options, targets: Targets
) -> None:
    """Color one file, unless an earlier call has done so."""
    source = io.BytesIO(sys.stdin.buffer.read()) if job.source is None else job.source
    file = open_picture(source, options.megapixels)
    target = job.target
    format = format_to_write(file, target.suffix if target and job.keep_suffix else None)
    if target is not None and not job.keep_suffix:
        target = _with_suffix_of(target, format)
    if target is not None and not targets.is_free(target, job):
        return
    with budget.reserve(_pixels_held(file, format, options.megapixels)):
        frames = (_color_frame(frame, predictor, options) for frame in file.frames())
        if target is None:
            buffer = io.BytesIO()
            write_picture(buffer, file, frames, format)
            write_result(buffer.getbuffer())
        else:
            targets.write(target, job, lambda part: write_picture(part, file, frames, format))


def _pixels_held(file: PictureFile, format: str, megapixels: float) -> int:
    """Return how many pixels of a file are in memory at a time while it is written in a format.

    Raises:
        UserError: more than allowed. All frames of a file are held, unless it is written as a TIFF.
    """
    count, (width, height) = 1 if format == "TIFF" else file.count, file.size  # see `write_picture`
    if count * width * height > megapixels * 1e6:
        raise UserError(
            f"it unpacks to {count} frames of {width}×{height} pixels, which would all be in memory: "
            f"if they are meant, raise --megapixels={megapixels:g}"
        )
    return count * width * height


_SUFFIXES = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}
"""By Pillow's name of the format, where that is not the suffix."""


def _with_suffix_of(target: Path, format: str) -> Path:
    """Return the target with the suffix of a format, unless it has one already."""
    extensions = Image.registered_extensions()
    if extensions.get(target.suffix.lower()) == format:
        return target
    known = target.suffix.lower() in extensions
    return target.with_name(f"{target.stem if known else target.name}.{_SUFFIXES.get(format, format.lower())}")


def _color_frame(frame: Frame, predictor: BatchingPredictor, options: Options) -> Frame:
    pixels, like_array = pixels_of(frame.pixels)
    lightness = input_of(predictor.model, pixels, options.size)
    ab = predictor.predict(lightness)
    colored, alpha = like_array(apply_color(pixels, lightness, ab, options.guided)), frame.alpha
    if options.side_by_side:
        gray = like_array(apply_color(pixels, lightness, torch.zeros_like(ab)))
        colored, alpha = np.hstack([gray, colored]), None if alpha is None else np.hstack([alpha, alpha])
    return frame._replace(pixels=colored, alpha=alpha)
