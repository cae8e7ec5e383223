"""Parquet tables of picture files, as Hugging Face stores data sets, as a source of photographs."""

import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from colorlab.data.splits import MEANINGS, files_below
from colorlab.errors import UserError, how_to_install, reason_of

SUFFIX = ".parquet"

KEPT = 256 * 2**20
"""How many bytes of row groups a process keeps in memory, unless a single one is larger."""

LARGEST = 2**30
"""Row groups of more bytes are refused, since a row group is read as a whole."""

WINDOW = 16
"""How many row groups an epoch's order mixes at a time, if so many can be kept."""


class TableFile(NamedTuple):
    """One file of a table."""

    path: Path
    column: str  # with the bytes, in Parquet's dotted notation
    ends: np.ndarray  # [G] int64, how many rows there are up to the end of each row group
    largest: int  # bytes of its largest row group, uncompressed
    status: os.stat_result


class Table:
    """The rows of Parquet files; `table / name` is the picture in one of them, as it is in a folder.

    A name is that of the file and the number of the row, "data/train-00000-of-00002.parquet/00000017". Row groups are
    read as a whole, and a process keeps the newest ones.

    Args:
        path: a Parquet file, or a folder of them.

    Raises:
        UserError: pyarrow is missing, or a file is no table of pictures.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base = path if path.is_dir() else path.parent
        found = sorted(filter(is_table, files_below(path))) if path.is_dir() else [path.name]
        self.files = {name: _open_file(self.base / name) for name in found}
        self.largest = max((file.largest for file in self.files.values()), default=0)
        self._first_group: dict[str, int] = {}
        self.group_count = 0
        for name, file in self.files.items():
            self._first_group[name] = self.group_count
            self.group_count += len(file.ends)
        self._kept: OrderedDict[tuple[str, int], Any] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_kept": OrderedDict()}

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> "TablePhotograph":
        return TablePhotograph(self, name)

    @property
    def names(self) -> list[str]:
        """The names of all photographs, in the order of storage."""
        counts = {name: int(file.ends[-1]) if len(file.ends) else 0 for name, file in self.files.items()}
        return [f"{name}/{row:08d}" for name, count in counts.items() for row in range(count)]

    @property
    def labels(self) -> list[str]:
        """What the file or the top folder of each photograph says of its split: "train" of train-00000.parquet."""
        labels = {name: _label(name) for name in self.files}
        return [labels[name.rpartition("/")[0]] for name in self.names]

    @property
    def window(self) -> int:
        """How many row groups can be kept in memory, at most `WINDOW`."""
        return max(1, min(WINDOW, KEPT // max(self.largest, 1)))

    def groups(self, names: Iterable[str]) -> np.ndarray:
        """Return the number of the row group that each photograph is in: [N] int64."""
        places = (self._place(name) for name in names)
        return np.array([self._first_group[file] + group for file, group, _ in places], dtype=np.int64)

    def status(self, name: str) -> os.stat_result:
        """Return the status of the file that a photograph is in."""
        return self.files[self._place(name)[0]].status

    def read(self, name: str) -> bytes:
        """Return the bytes of a photograph.

        Raises:
            OSError: the row has none.
            UserError: the file cannot be read.
        """
        file, group, row = self._place(name)
        value = self._column(file, group)[row].as_py()
        content = value["bytes"] if isinstance(value, dict) else value
        if content is None:
            raise OSError("the row holds no bytes of a picture")
        return content

    def _place(self, name: str) -> tuple[str, int, int]:
        """Return the file of a photograph, its row group and its row in that."""
        file, _, row = name.rpartition("/")
        ends = self.files[file].ends
        group = int(np.searchsorted(ends, int(row), side="right"))
        return file, group, int(row) - (int(ends[group - 1]) if group else 0)

    def _column(self, name: str, group: int) -> Any:
        """Return the picture column of a row group, a pyarrow.ChunkedArray."""
        if self._process != os.getpid():  # a fork
            self._kept, self._process = OrderedDict(), os.getpid()
        key = name, group
        if key not in self._kept:
            file = self.files[name]
            try:
                with _pyarrow().ParquetFile(file.path) as table:
                    column = table.read_row_group(group, columns=[file.column], use_threads=False).column(0)
            except (OSError, ValueError) as error:  # the disk failed, not the photograph; pyarrow's errors are these
                raise UserError(f"{file.path} cannot be read: {reason_of(error)}.") from error
            while self._kept and column.nbytes + sum(each.nbytes for each in self._kept.values()) > KEPT:
                self._kept.popitem(last=False)
            self._kept[key] = column
        self._kept.move_to_end(key)
        return self._kept[key]


class TablePhotograph(NamedTuple):
    """A photograph in a table, with the methods of a `Path` that reading needs."""

    table: Table
    name: str

    def __str__(self) -> str:
        return f"{self.table.base / self.name}"

    def read_bytes(self) -> bytes:
        return self.table.read(self.name)

    def stat(self) -> os.stat_result:
        """Return the size and the modification time of the table's file."""
        status = self.table.status(self.name)
        sizes = (stat.S_IFREG, 0, 0, 0, 0, 0, status.st_size, 0, 0, 0)
        return os.stat_result(sizes, {"st_mtime_ns": status.st_mtime_ns})


def is_table(name: str) -> bool:
    """Return whether a file is a Parquet table by its name."""
    return name.lower().endswith(SUFFIX) and not name.rpartition("/")[2].startswith(".")


def _label(name: str) -> str:
    """Return the name of the top folder if it means a split, else the first word of the file's name."""
    top = name.split("/", 1)[0]
    return top if top.lower() in MEANINGS else re.split(r"[-_.]", name.rpartition("/")[2])[0]


def _pyarrow() -> Any:
    try:
        from pyarrow import parquet  # slow to import, and optional
    except ImportError as error:
        raise UserError(f"A Parquet table needs pyarrow: {how_to_install('parquet')}.") from error
    return parquet


def _open_file(path: Path) -> TableFile:
    """Read the footer of a file.

    Raises:
        UserError: it is no Parquet file, has no column of pictures, or has too large row groups.
    """
    parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as table:
            metadata, schema = table.metadata, table.schema_arrow
    except (OSError, ValueError) as error:
        raise UserError(f"data.root={path} is not a Parquet table: {reason_of(error)}.") from error
    column = _picture_column(path, schema)
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    ends = np.cumsum([group.num_rows for group in groups], dtype=np.int64)
    chunks = (group.column(place) for group in groups for place in range(group.num_columns))
    largest = max((chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == column), default=0)
    if largest > LARGEST:
        raise UserError(
            f"data.root={path} has a row group of {largest / 2**30:.1f} GiB, and a row group is read as a whole: write"
            " the table with row_group_size=100."
        )
    return TableFile(path, column, ends, largest, path.stat())


def _picture_column(path: Path, schema: Any) -> str:
    """Return the column with the bytes: `image`, or else the only one that can hold them."""
    from pyarrow import types

    def holds_bytes(kind: Any) -> bool:
        return types.is_binary(kind) or types.is_large_binary(kind)

    columns = {}
    for field in schema:
        if holds_bytes(field.type):
            columns[field.name] = field.name
        elif types.is_struct(field.type) and any(
            part.name == "bytes" and holds_bytes(part.type) for part in field.type
        ):
            columns[field.name] = f"{field.name}.bytes"
    if "image" in columns:
        return columns["image"]
    if len(columns) != 1:
        found = ", ".join(schema.names)
        raise UserError(
            f"data.root={path} has {'several columns' if columns else 'no column'} of picture bytes: name one `image`"
            f" (columns: {found})."
        )
    return next(iter(columns.values()))
