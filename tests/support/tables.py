"""Parquet tables of the built-in photographs."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from colorlab.data.splits import SAMPLES


def write_table(
    path: Path, names: Sequence[str | None], kind: str = "huggingface", group: int = 100, column: str = "image"
) -> Path:
    """Write a table of photographs and return its path.

    Args:
        path: the file.
        names: the photographs, one a row; None is a row without one.
        kind: of the column: huggingface for a struct of bytes and path, binary for bytes, numbers for neither.
        group: rows in a row group.
        column: its name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = [name and (SAMPLES / name).read_bytes() for name in names]
    if kind == "huggingface":
        layout = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        rows = [{"bytes": content, "path": name} for content, name in zip(contents, names, strict=True)]
        values = pa.array(rows, layout)
    else:
        values = pa.array(contents, pa.binary()) if kind == "binary" else pa.array(range(len(names)))
    parquet.write_table(
        pa.table({column: values, "label": pa.array(range(len(names)))})
        if kind != "numbers"
        else pa.table({column: values}),
        path,
        row_group_size=group,
    )
    return path
