"""Many picture files: found, read, colored and written by threads around one network."""

import errno
import glob
import io
import os
import re
import struct
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from colorlab.errors import UserError
from colorlab.files import atomic_path
from colorlab.images.formats import PICTURE_SUFFIXES
from colorlab.images.frames import Frame, PictureFile
from colorlab.images.picture_files import MEGAPIXELS, format_to_write, open_picture, write_picture
from colorlab.models.colorizer import Colorizer
from colorlab.models.inference import SIZE, apply_color, network_input, pixels_of, predict

FILMS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
"""The files that are taken for films."""

IN_FLIGHT = 2**26
"""Pixels decoded at a time, over all threads; a picture of more is worked on alone."""


@dataclass(frozen=True)
class How:
    """How pictures are colored and written; see `colorize`, and the command's own help."""

    size: int = SIZE
    guided: bool = False
    saturation: float = 1.0
    temperature: float | None = None
    side_by_side: bool = False
    steady: float = 0.8
    force: bool = False
    megapixels: float = MEGAPIXELS
    batch_size: int = 16


class Errand(NamedTuple):
    """A file to color."""

    source: Path | None  # None for standard input
    target: Path | None  # None for standard output
    as_named: bool  # whether the target's suffix says what to write; otherwise the source does

    @property
    def is_film(self) -> bool:
        return self.source is not None and self.source.suffix.lower() in FILMS

    def __str__(self) -> str:
        return "standard input" if self.source is None else str(self.source)


class Failure(NamedTuple):
    """A file that was not colored, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}."


# -- what to do --------------------------------------------------------------------------------------


def plan(words: list[str], out: str) -> tuple[list[Errand], list[Failure]]:
    """What is to be colored, and where each result goes.

    Args:
        words: files, folders, patterns, or "-" for standard input.
        out: a folder, in which the pictures of a folder lie as they do there; a file, for a single
            picture; or "-" for standard output.

    Raises:
        UserError: the results would lie among the pictures, or there are too many for `out`.
    """
    folder = Path(out).expanduser()
    found: list[tuple[Path | None, Path]] = []  # each file, and its name below the folder
    failures: list[Failure] = []
    for word in words:
        path = Path(word).expanduser()
        if word == "-":
            found.append((None, Path("stdin")))
        elif path.is_dir():
            if out != "-" and folder.resolve().is_relative_to(path.resolve()):
                raise UserError(f"-o {out} lies in {path}, where it would be colored the next time: choose another.")
            inside = list(_files_in(path, failures))
            found += [(file, file.relative_to(path)) for file in inside]
            failures += [] if inside else [Failure(word, "holds no picture")]
        elif path.exists():
            found.append((path, Path(path.name)))
        elif matching := [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]:
            found += [(match, Path(match.name)) for match in matching if _is_ours(match)]
        else:
            failures.append(Failure(word, "matches no file" if glob.has_magic(word) else "does not exist"))
    return _direct(found, out, folder, failures), failures


def _files_in(folder: Path, failures: list[Failure]) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        failures.append(Failure(str(error.filename), reason_of(error)))

    for where, subfolders, files in os.walk(folder, onerror=failed):
        subfolders.sort()
        yield from (path for file in sorted(files) if _is_ours(path := Path(where, file)))


def _is_ours(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES | FILMS and not path.name.startswith(".")


def _direct(found: list[tuple[Path | None, Path]], out: str, folder: Path, failures: list[Failure]) -> list[Errand]:
    """Give each file its target."""
    is_file = folder.suffix.lower() in Image.registered_extensions().keys() | FILMS and not folder.is_dir()
    if len(found) > 1 and (is_file or out == "-"):
        raise UserError(f"-o {out} takes one picture, and these are {len(found)}: give a folder.")
    if out == "-" or is_file:
        return [Errand(source, None if out == "-" else folder, is_file) for source, _ in found]
    errands: dict[Path, Errand] = {}
    for source, name in found:
        target = folder / (
            name.with_suffix(".mkv") if name.suffix.lower() == ".avi" else name
        )  # as .avi none is written
        errand = Errand(source, target, False)
        if (other := errands.setdefault(target, errand)) is not errand:
            failures.append(Failure(str(errand), f"its result would have the name of that of {other}"))
    return list(errands.values())


def reason_of(error: BaseException) -> str:
    """What went wrong with a file, without a full stop."""
    if isinstance(error, UserError):
        return str(error).removesuffix(".")
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left to write its result"
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "there is not enough memory"
    if isinstance(error, EOFError | SyntaxError | struct.error) or type(error).__name__ == "InvalidDataError":  # PyAV's
        return "it is truncated or damaged"
    if isinstance(error, OSError):  # without a number it is a decoder's, not the system's
        return error.strerror[0].lower() + error.strerror[1:] if error.strerror else "it is truncated or damaged"
    text = re.sub(r"\s+", " ", str(error)).strip()
    return f"it cannot be read ({text or type(error).__name__})"


# -- the network -------------------------------------------------------------------------------------


class Question(NamedTuple):
    """What one thread wants to know of the network: L [1, 1, h, w] → ab [1, 2, h, w]."""

    lightness: Tensor
    answer: Future


class Network:
    """A model that many threads ask and one answers, in batches of what is of one size at the moment."""

    def __init__(self, model: Colorizer, how: How) -> None:
        self.model, self.how = model, how
        self.device = next(model.parameters()).device
        self.events: SimpleQueue[Question | Future] = SimpleQueue()  # questions, and files that are done
        self._waiting: list[Question] = []
        self._closed = threading.Event()

    def ask(self, lightness: Tensor) -> Tensor:
        """Wait for the ab of L: [1, 1, h, w] → [1, 2, h, w]."""
        question = Question(lightness, Future())
        self.events.put(question)
        if self._closed.is_set():
            raise CancelledError
        try:
            return question.answer.result()
        finally:
            del question  # which may hold an error, and that holds whatever is here, such as the picture

    def serve(self, files: int) -> Iterator[Future]:
        """Answer until so many files are done; each is told when it is."""
        done = 0
        while done < files:
            if self._waiting and self.events.empty():
                self._answer()
            elif isinstance(event := self.events.get(), Question):
                self._waiting.append(event)
            else:
                done += 1
                yield event

    def _answer(self) -> None:
        """Color what has the size of the first that waits; interrupted, it leaves them waiting, for `close`."""
        size = self._waiting[0].lightness.shape
        batch = [each for each in self._waiting if each.lightness.shape == size][: self.how.batch_size]
        try:
            shown = torch.cat([each.lightness for each in batch])
            answers = predict(self.model, shown, self.how.saturation, self.how.temperature).split(1)
        except Exception as error:  # whoever asked reports it
            for each in batch:
                each.answer.set_exception(error.with_traceback(None))  # which would hold all of them, and they it
        else:
            for each, ab in zip(batch, answers, strict=True):
                each.answer.set_result(ab)
        self._waiting = [each for each in self._waiting if not each.answer.done()]

    def close(self) -> None:
        """Turn away whoever still waits."""
        self._closed.set()
        while not self.events.empty():
            event = self.events.get()
            self._waiting += [event] if isinstance(event, Question) else []
        for each in self._waiting:
            if not each.answer.done():
                each.answer.set_exception(CancelledError())


class Budget:
    """Lets threads in as long as their pixels together stay below a limit; a larger one goes alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._changed = limit, 0, threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._limit)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


# -- the work ----------------------------------------------------------------------------------------


def color_pictures(errands: list[Errand], model: Colorizer, how: How) -> Iterator[Failure | None]:
    """Color picture files; for each as it is done, why it was not colored, or None.

    Threads read, decode, encode and write while this one runs the network.
    """
    network, budget = Network(model, how), Budget(IN_FLIGHT)
    workers = min(len(errands), how.batch_size, (os.cpu_count() or 1) + 1)
    pool = ThreadPoolExecutor(max(1, workers), "picture", initializer=torch.set_num_threads, initargs=(1,))
    taken: dict[Path, Errand] = {}
    try:
        for errand in errands:
            pool.submit(_outcome, errand, network, budget, how, taken).add_done_callback(network.events.put)
        for future in network.serve(len(errands)):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        network.close()
        pool.shutdown()


def _outcome(errand: Errand, *words: Any) -> Failure | None:
    """Why a file was not colored: said at once, as an error holds what was decoded when it was raised."""
    try:
        _color_file(errand, *words)
    except Exception as error:
        return Failure(str(errand), reason_of(error))
    return None


def _color_file(errand: Errand, network: Network, budget: Budget, how: How, taken: dict[Path, Errand]) -> None:
    """One file, from the disk to the disk; `taken` says which target is whose."""
    source = io.BytesIO(sys.stdin.buffer.read()) if errand.source is None else errand.source
    file = open_picture(source, how.megapixels)
    target = errand.target
    format = format_to_write(file, target.suffix if target and errand.as_named else None)
    if target is not None and not errand.as_named:
        target = _with_suffix_of(target, format)
    if target is not None:
        if (other := taken.setdefault(target, errand)) is not errand:  # two names, but what is in them is of one kind
            raise UserError(f"its result would have the name of that of {other}")
        refuse(target, errand.source, how.force)
    with budget.of(_pixels_held(file, format, how.megapixels)):
        frames = (_color_frame(frame, network, how) for frame in file.frames())
        if target is None:
            buffer = io.BytesIO()
            write_picture(buffer, file, frames, format)
            sys.stdout.buffer.write(buffer.getbuffer())
            sys.stdout.buffer.flush()
        else:
            with atomic_path(target) as part:
                write_picture(part, file, frames, format)


def _pixels_held(file: PictureFile, format: str, megapixels: float) -> int:
    """How many pixels of a file are in memory at a time while it is written in a format.

    Raises:
        UserError: too many; of a moving picture, all frames are, unless it becomes a TIFF.
    """
    count, (width, height) = 1 if format == "TIFF" else file.count, file.size  # see `write_picture`
    if count * width * height > megapixels * 1e6:
        raise UserError(
            f"it unpacks to {count} frames of {width}×{height} pixels, which would all be in memory: "
            f"if they are meant, raise --megapixels={megapixels:g}"
        )
    return count * width * height


def refuse(target: Path, source: Path | None, force: bool) -> None:
    """See that nothing is overwritten that should not be.

    Raises:
        UserError: it would be.
    """
    if source is not None and target.exists() and target.samefile(source):
        raise UserError("its result would replace it: give another -o")
    if target.exists() and not force:
        raise UserError(f"{target} exists: --force overwrites it")


def _with_suffix_of(target: Path, format: str) -> Path:
    """The target's own name, unless it is that of another format."""
    extensions = Image.registered_extensions()
    if extensions.get(target.suffix.lower()) == format:
        return target
    known = target.suffix.lower() in extensions
    return target.with_name(f"{target.stem if known else target.name}.{SUFFIX.get(format, format.lower())}")


SUFFIX = {"JPEG": "jpg", "JPEG2000": "jp2", "TIFF": "tif"}


def _color_frame(frame: Frame, network: Network, how: How) -> Frame:
    pixels, like_array = pixels_of(frame.pixels)
    lightness = network_input(pixels, how.size, network.device)
    ab = network.ask(lightness)
    colored, alpha = like_array(apply_color(pixels, lightness, ab, how.guided)), frame.alpha
    if how.side_by_side:
        gray = like_array(apply_color(pixels, lightness, torch.zeros_like(ab)))
        colored, alpha = np.hstack([gray, colored]), None if alpha is None else np.hstack([alpha, alpha])
    return frame._replace(pixels=colored, alpha=alpha)
