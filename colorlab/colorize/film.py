"""Films: colored frame by frame with little flicker, in pieces that survive an interruption.

PyAV reads and writes them: unlike torchcodec it copies sound and subtitles without encoding them again,
and keeps the time stamp of each frame. Chapters, covers, attached fonts and metadata are kept as well, where
the new container can hold them. What it cannot hold is named in a line: a second video stream, and data
streams such as a phone's motion sensors. The colored pieces of a film are kept in a folder beside the result
until the last one is done; the same command resumes from there. Only one batch of frames is in memory.
"""

import io
import os
import sys
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
import torch
from av.codec.context import ThreadType
from av.container import InputContainer
from filelock import FileLock, Timeout
from torch import Tensor

from colorlab.colorize.finished import Finished
from colorlab.colorize.flicker import FlickerFilter
from colorlab.colorize.jobs import Job, Options
from colorlab.colorize.muxing import CONTAINERS, add_copies, mux_film
from colorlab.colorize.pictures import PIXELS_IN_FLIGHT
from colorlab.colorize.pieces import Pieces, fingerprints
from colorlab.colorize.targets import Targets
from colorlab.colorize.threads import picture_threads
from colorlab.colorize.video import Encoder, Orientation, decoded, refuse_hdr, rgb_of, video_stream
from colorlab.errors import UserError, printable
from colorlab.models.colorizer import Colorizer
from colorlab.models.inference import apply_color, input_of, pixels_of, predict

PIECE = 120
"""Frames per piece: an interruption loses at most as many."""


def color_film(
    source: Path, target: Path, model: Colorizer, options: Options, finished: Finished | None = None
) -> Iterator[float]:
    """Color a film; yield the share that is done after each batch of frames.

    Args:
        source, target: the film, and the file for its result.
        model: the network.
        options: how to color it.
        finished: which results an earlier call has written; those are left as they are.

    Raises:
        UserError, OSError, av.FFmpegError: the film cannot be read, or the result cannot be written.
    """
    if target.suffix.lower() not in CONTAINERS:
        raise UserError(f"films are not written as {target.suffix}: use {', '.join(CONTAINERS)}")
    targets, job = Targets(options.force, finished), Job(source, target, True)
    if targets.is_free(target, job):
        with _alone(target):
            if targets.is_free(target, job):  # another process may have finished it just now
                yield from _color_film(job, targets, model, options)


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Keep other processes from coloring a film into the same file.

    Raises:
        UserError: one does so.
    """
    is_new = not target.parent.exists()
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"another process is coloring a film into {target}: wait for it, or give another -o") from None
    except NotImplementedError:  # a file system without locks
        pass
    try:
        yield
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
        if is_new:
            with suppress(OSError):  # it holds the result
                target.parent.rmdir()


def _color_film(job: Job, targets: Targets, model: Colorizer, options: Options) -> Iterator[float]:
    source, target = job.source, job.target
    assert source is not None
    assert target is not None
    fingerprint_of = targets.finished.fingerprint_of if targets.finished else fingerprints(model, options)
    with av.open(str(source)) as film:
        stream = video_stream(film)
        refuse_hdr(stream)
        _report_left_out(source, target, film)
        pieces = Pieces(target.with_name(f".{target.name}.pieces"), fingerprint_of(source))
        piece_count = yield from _color_pieces(film, stream, pieces, target.suffix.lower(), model, options)
    if not piece_count:
        pieces.remove()
        raise UserError("it holds no moving picture")
    parts = [pieces.path(number) for number in range(piece_count)]
    targets.write(target, job, lambda part: mux_film(source, parts, part, target.suffix))
    pieces.remove()


def _report_left_out(source: Path, target: Path, film: InputContainer) -> None:
    """Print which streams the target cannot hold.

    Raises:
        UserError: the target cannot hold the sound or the subtitles, which is better said now than hours later.
    """
    with av.open(io.BytesIO(), "w", format=CONTAINERS[target.suffix.lower()]) as trial:
        left_out = add_copies(film, trial, target.suffix).left_out
    if left_out:
        print(printable(f"colorlab: {source}: left out of {target}: {', '.join(left_out)}."), file=sys.stderr)


def _color_pieces(
    film: InputContainer, stream: av.VideoStream, pieces: Pieces, suffix: str, model: Colorizer, options: Options
) -> Generator[float, None, int]:
    """Color the pieces that are missing; yield the share that is done, and return the number of pieces."""
    stream.thread_type = ThreadType.AUTO
    seconds = film.duration / av.time_base if film.duration else 0
    frames, flicker_filter = decoded(film, stream), FlickerFilter(options.steady)
    number = 0
    with picture_threads(os.cpu_count() or 1, "frame") as pool:
        while (first := next(frames, None)) is not None:
            piece = chain([first], islice(frames, PIECE - 1))
            if (last_frame := pieces.last_frame(number)) is not None:
                flicker_filter.before = last_frame
                deque(piece, maxlen=0)  # decoded and dropped, as seeking is exact in few films
            else:
                batch_size = max(1, min(options.batch_size, PIXELS_IN_FLIGHT // (first.width * first.height)))
                with pieces.writing(number) as part:
                    with Encoder(part, stream, suffix) as encoder:
                        while batch := list(islice(piece, batch_size)):
                            colored = _color(batch, model, options, flicker_filter, pool)
                            for frame, rgb in zip(batch, colored, strict=True):
                                encoder.write(rgb, frame)
                            yield min(1.0, (batch[-1].time or 0) / seconds) if seconds else 0.0
                    pieces.save_last_frame(number, part, flicker_filter.before)
            number += 1
    return number


def _color(
    batch: list[av.VideoFrame],
    model: Colorizer,
    options: Options,
    flicker_filter: FlickerFilter,
    pool: ThreadPoolExecutor,
) -> Iterator[np.ndarray]:
    """Color the frames of a batch; return them as they are stored in the film, [H, W, 3] uint8 each."""
    orientation = Orientation.of(batch[0])
    pixels = list(pool.map(lambda frame: pixels_of(orientation.upright(rgb_of(frame)))[0], batch))
    inputs = list(pool.map(lambda each: input_of(model, each, options.size), pixels))
    predicted = predict(model, torch.cat(inputs), options.saturation, options.temperature).split(1)
    filtered = [flicker_filter(lightness, ab) for lightness, ab in zip(inputs, predicted, strict=True)]

    def finish(each: Tensor, lightness: Tensor, ab: Tensor) -> np.ndarray:
        colored = apply_color(each, lightness, ab, options.guided)
        if options.side_by_side:
            colored = torch.cat([apply_color(each, lightness, torch.zeros_like(ab)), colored], dim=-1)
        return np.ascontiguousarray(orientation.stored(colored[0].permute(1, 2, 0).numpy()))

    return pool.map(finish, pixels, inputs, filtered)
