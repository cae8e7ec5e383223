"""Parquet tables of picture files."""

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from colorlab.data import table as module
from colorlab.data.photographs import Photographs
from colorlab.data.splits import SAMPLES, find_photographs, fingerprint
from colorlab.data.table import Table
from colorlab.errors import UserError
from support.tables import write_table

NAMES = find_photographs(SAMPLES)[:7]
CONTENTS = [(SAMPLES / name).read_bytes() for name in NAMES]


@pytest.mark.parametrize("kind", ["huggingface", "binary"])
def test_rows_are_the_files_that_were_written(tmp_path: Path, kind: str) -> None:
    table = Table(write_table(tmp_path / "photos.parquet", NAMES, kind=kind, group=3))
    assert table.names == [f"photos.parquet/{row:08d}" for row in range(7)]
    for order in (range(7), (6, 0, 3, 3, 5)):
        for row in order:
            assert (table / table.names[row]).read_bytes() == CONTENTS[row]
    assert table.groups(table.names).tolist() == [0, 0, 0, 1, 1, 1, 2]
    copy = pickle.loads(pickle.dumps(table))
    assert (copy / table.names[4]).read_bytes() == CONTENTS[4]


def test_files_of_a_folder_follow_each_other_and_say_their_split(tmp_path: Path) -> None:
    names = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "data/validation-0.parquet")
    for place, name in enumerate((*names, "Test/x.parquet")):
        write_table(tmp_path / name, NAMES[place : place + 2])
    table = Table(tmp_path)
    assert table.names[:2] == ["Test/x.parquet/00000000", "Test/x.parquet/00000001"]
    assert table.labels == ["Test"] * 2 + ["train"] * 4 + ["validation"] * 2
    assert (table / "data/train-00001-of-00002.parquet/00000001").read_bytes() == CONTENTS[2]
    assert len(set(table.groups(table.names))) == table.group_count == 4


def test_few_row_groups_are_kept_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(write_table(tmp_path / "photos.parquet", NAMES, group=1))
    assert table.window == 16
    monkeypatch.setattr(module, "KEPT", 2 * max(map(len, CONTENTS)) + 100)
    assert table.window == 1 or table.window == 2
    for name in table.names:
        (table / name).read_bytes()
        assert sum(column.nbytes for column in table._kept.values()) <= module.KEPT
    assert list(table._kept)[-1] == ("photos.parquet", 6)


def test_row_groups_are_read_once_in_the_order_of_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(write_table(tmp_path / "photos.parquet", NAMES, group=3))
    opened = []
    real = module._pyarrow()
    monkeypatch.setattr(module, "_pyarrow", lambda: opened.append(1) or real)
    for name in table.names:
        (table / name).read_bytes()
    assert len(opened) == 3


def test_a_row_without_a_picture_is_left_out_like_a_broken_file(tmp_path: Path) -> None:
    table = Table(write_table(tmp_path / "photos.parquet", [NAMES[0], None]))
    batch = Photographs(table, table.names, 16, fill=False)[1]
    assert [skipped.reason for skipped in batch.skipped] == ["the row holds no bytes of a picture"]
    with pytest.raises(OSError, match="no bytes"):
        (table / table.names[1]).read_bytes()


def test_a_fingerprint_changes_with_the_file(tmp_path: Path) -> None:
    one = Table(write_table(tmp_path / "a" / "photos.parquet", NAMES))
    same = Table(write_table(tmp_path / "b" / "photos.parquet", NAMES))
    other = Table(write_table(tmp_path / "c" / "photos.parquet", NAMES[::-1][:6] + NAMES[1:2]))
    marks = [fingerprint(table, table.names, times=False) for table in (one, same, other)]
    assert marks[0] == marks[1] != marks[2]


def test_what_is_no_table_of_pictures_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "photos.parquet"
    path.write_bytes(b"PAR1 torn")
    with pytest.raises(UserError, match="is not a Parquet table"):
        Table(path)
    write_table(path, NAMES[:2], column="picture")
    assert len(Table(path).names) == 2
    write_table(path, NAMES[:2], kind="numbers")
    with pytest.raises(UserError, match=r"has no column of picture bytes: name one `image` \(columns: image\)"):
        Table(path)
    write_table(path, NAMES[:2])
    monkeypatch.setattr(module, "LARGEST", 1000)
    with pytest.raises(UserError, match=r"has a row group of .* write the table with row_group_size=100"):
        Table(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="needs pyarrow: pip install pyarrow"):
        Table(path)


def test_a_table_that_vanishes_is_reported_as_such(tmp_path: Path) -> None:
    path = write_table(tmp_path / "photos.parquet", NAMES)
    table = Table(path)
    path.unlink()
    with pytest.raises(UserError, match=r"photos\.parquet cannot be read"):
        Photographs(table, table.names, 16, fill=True)[0]


def test_rows_are_placed_as_a_search_from_the_start_places_them(tmp_path: Path) -> None:
    table = Table(write_table(tmp_path / "photos.parquet", NAMES, group=2))
    groups = np.repeat(range(4), [2, 2, 2, 1])
    for row, name in enumerate(table.names):
        _, group, inside = table._place(name)
        assert (group, inside) == (groups[row], row - np.flatnonzero(groups == groups[row])[0])
