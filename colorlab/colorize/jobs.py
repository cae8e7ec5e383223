"""Which files to color, where each result goes, and how to color them."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from colorlab.errors import UserError
from colorlab.images.failures import explain_failure
from colorlab.images.formats import PICTURE_SUFFIXES
from colorlab.images.picture_files import MEGAPIXELS

FILM_SUFFIXES = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"}
"""The files that are taken as films."""


@dataclass(frozen=True)
class Options:
    """How pictures and films are colored and written; the help of the command explains each option."""

    size: int | None = None
    guided: bool = False
    saturation: float = 1.0
    temperature: float | None = None
    side_by_side: bool = False
    steady: float = 0.8
    force: bool = False
    megapixels: float = MEGAPIXELS
    batch_size: int = 16

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"--batch-size={self.batch_size} must be at least 1.")
        if not 0 <= self.steady < 1:
            raise UserError(f"--steady={self.steady:g} must be at least 0 and below 1.")


class Job(NamedTuple):
    """A file to color."""

    source: Path | None  # None for standard input
    target: Path | None  # None for standard output
    keep_suffix: bool  # whether the target's suffix decides the format; otherwise the source's format does

    @property
    def is_film(self) -> bool:
        return self.source is not None and self.source.suffix.lower() in FILM_SUFFIXES

    def __str__(self) -> str:
        return "standard input" if self.source is None else str(self.source)


class Failure(NamedTuple):
    """A file that was not colored, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}."


def plan_jobs(paths: list[str], out: str) -> tuple[list[Job], list[Failure]]:
    """Find the files to color, and choose where each result goes.

    Args:
        paths: files, folders, patterns, or "-" for standard input.
        out: a folder, in which the pictures of a folder keep their relative paths; a file, for a single
            picture; or "-" for standard output.

    Raises:
        UserError: the results would lie among the pictures, or there are too many for `out`.
    """
    folder = Path(out).expanduser()
    found: list[tuple[Path | None, Path]] = []  # each file, and its path relative to the folder
    failures: list[Failure] = []
    for word in paths:
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
            found += [(match, Path(match.name)) for match in matching if _can_be_colored(match)]
        else:
            failures.append(Failure(word, "matches no file" if glob.has_magic(word) else "does not exist"))
    return _with_targets(found, out, folder, failures), failures


def _files_in(folder: Path, failures: list[Failure]) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        failures.append(Failure(str(error.filename), explain_failure(error)))

    for parent, subfolders, files in os.walk(folder, onerror=failed):
        subfolders.sort()
        yield from (path for file in sorted(files) if _can_be_colored(path := Path(parent, file)))


def _can_be_colored(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES | FILM_SUFFIXES and not path.name.startswith(".")


def _with_targets(found: list[tuple[Path | None, Path]], out: str, folder: Path, failures: list[Failure]) -> list[Job]:
    is_file = folder.suffix.lower() in Image.registered_extensions().keys() | FILM_SUFFIXES and not folder.is_dir()
    if len(found) > 1 and (is_file or out == "-"):
        raise UserError(f"-o {out} takes one picture, and these are {len(found)}: give a folder.")
    if out != "-" and (file := _file_above(folder.parent if is_file else folder)):
        raise UserError(f"-o {out} cannot be written: {file} is not a folder.")
    if out == "-" or is_file:
        return [Job(source, None if out == "-" else folder, is_file) for source, _ in found]
    jobs: dict[Path, Job] = {}
    for source, name in found:
        # AVI has no time stamps and is not written.
        target = folder / (name.with_suffix(".mkv") if name.suffix.lower() == ".avi" else name)
        job = Job(source, target, False)
        if (other := jobs.setdefault(target, job)) is not job:
            failures.append(Failure(str(job), f"its result would have the name of that of {other}"))
    return list(jobs.values())


def _file_above(folder: Path) -> Path | None:
    """Return what keeps a folder from being created: a file, or a link to nothing, in its place or above it."""
    found = next(each for each in (folder, *folder.parents, Path()) if os.path.lexists(each))
    return None if found.is_dir() else found


def check_target(target: Path, source: Path | None, force: bool) -> None:
    """Raise UserError if the target cannot be written, or would overwrite the source, or, unless forced, any file."""
    if file := _file_above(target.parent):
        raise UserError(f"{file} is not a folder")
    if source is not None and target.exists() and target.samefile(source):
        raise UserError("its result would replace it: give another -o")
    if os.path.lexists(target) and not force:  # a link to nothing, too
        raise UserError(f"{target} exists: --force overwrites it")
