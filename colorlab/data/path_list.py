"""A list of paths, in a text or CSV file, as a source of photographs."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from colorlab.data.splits import MEANINGS
from colorlab.errors import UserError, printable
from colorlab.images.formats import PHOTOGRAPH_SUFFIXES

SUFFIXES = (".txt", ".csv")
"""Of files that are lists."""


class PathList:
    """The paths in a text or CSV file; `paths / name` is one of them, as it is in a folder.

    A text file has one path per line. A CSV file has the paths in the column `path`, or else in its first column, and
    may have a column `split`. Paths are relative to the file's folder.

    Args:
        path: the file.

    Raises:
        UserError: the file cannot be read, is empty, lists a path twice, or names an unknown split.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.folders = path, [path.parent]
        self.names: list[str] = []
        labels: list[str] = []
        seen: dict[str, int] = {}
        for line, text, label in _rows(path):
            name = PurePath(text).as_posix()
            if name in seen:
                raise UserError(f"data.root={path} lists {printable(name)} twice, in lines {seen[name]} and {line}.")
            if label is not None and label.lower() not in MEANINGS:
                known = ", ".join(MEANINGS)
                raise UserError(f"data.root={path} has the split {label!r} in line {line}: splits are {known}.")
            seen[name] = line
            self.names.append(name)
            labels += [] if label is None else [label]
        self.labels = labels or None
        if not self.names:
            raise UserError(f"data.root={path} lists no photograph.")

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path.parent / name


def _rows(path: Path) -> Iterator[tuple[int, str, str | None]]:
    """Yield the number, the path and the split of each line; the split is None in a list without splits."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            if path.suffix.lower() == ".csv":
                yield from _csv_rows(path, csv.reader(file))
                return
            for number, line in enumerate(file, 1):
                if text := line.strip("\r\n\0"):
                    yield number, text, None
    except (OSError, csv.Error) as error:
        raise UserError(f"data.root={path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error


def _csv_rows(path: Path, reader: Iterator[list[str]]) -> Iterator[tuple[int, str, str | None]]:
    place, split = 0, None
    for number, row in enumerate(reader, 1):
        if number == 1:
            head = [cell.strip().lower() for cell in row]
            if "path" in head or not any(os.path.splitext(cell)[1] in PHOTOGRAPH_SUFFIXES for cell in head):
                place = head.index("path") if "path" in head else int(head[:1] == ["split"])
                split = head.index("split") if "split" in head else None
                continue
        if not any(row):
            continue
        if len(row) <= max(place, split or 0) or not row[place] or "\0" in row[place]:
            raise UserError(f"data.root={path} has no path, or no split, in row {number}.")
        yield number, row[place], None if split is None else row[split].strip()
