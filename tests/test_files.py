"""Files that appear when they are whole."""

import errno
import os
from pathlib import Path

import pytest

from colorlab.files import atomic_path, natural_key, remove_dead_parts, spreadsheet_cell, write_text


def test_a_file_takes_its_place_when_all_went_well(tmp_path: Path) -> None:
    write_text(tmp_path / "sub" / "a.txt", "first")
    with atomic_path(tmp_path / "sub" / "a.txt") as part:
        part.write_text("second")
        assert (tmp_path / "sub" / "a.txt").read_text() == "first"
    assert (tmp_path / "sub" / "a.txt").read_text() == "second"
    assert os.listdir(tmp_path / "sub") == ["a.txt"]


def run_out_of_room(file: Path) -> None:
    with atomic_path(file) as part:
        part.write_text("half")
        with open("/dev/full", "w") as full:
            full.write("more")


def be_stopped(file: Path) -> None:
    with atomic_path(file, shared=True) as part:
        part.write_text("half")
        raise KeyboardInterrupt


def test_what_went_wrong_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "first")
    with pytest.raises(OSError, match="No space left") as failed:
        run_out_of_room(tmp_path / "a.txt")
    assert (failed.value.errno, failed.value.filename) == (errno.ENOSPC, str(tmp_path / "a.txt"))
    with pytest.raises(KeyboardInterrupt):
        be_stopped(tmp_path / "a.txt")
    assert os.listdir(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "first"


def test_two_may_write_a_shared_file_at_once_and_the_last_ones_stays(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.txt", shared=True) as one, atomic_path(tmp_path / "a.txt", shared=True) as other:
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "a.txt").read_text() == "one"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_new_file_takes_no_other_ones_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without hard links, too."""

    def without_links(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    for link in (os.link, without_links):
        monkeypatch.setattr(os, "link", link)
        with atomic_path(tmp_path / "new.txt", shared=True, new=True) as part:
            part.write_text("first")
        with pytest.raises(FileExistsError), atomic_path(tmp_path / "new.txt", shared=True, new=True) as part:
            part.write_text("second")
        assert (tmp_path / "new.txt").read_text() == "first"
        assert os.listdir(tmp_path) == ["new.txt"]
        (tmp_path / "new.txt").unlink()


def test_only_the_temporary_files_of_dead_processes_are_removed(tmp_path: Path) -> None:
    def die_halfway() -> None:
        for writing in [atomic_path(folder / "a.txt", shared=True) for folder in (tmp_path, tmp_path / "deep")]:
            writing.__enter__().write_text("half")
        os._exit(0)

    child = os.fork()
    if not child:
        die_halfway()
    os.waitpid(child, 0)
    (tmp_path / "of another program.part").touch()
    with atomic_path(tmp_path / "b.txt", shared=True) as part:
        part.touch()
        remove_dead_parts(tmp_path)
        assert {path.name for path in tmp_path.glob("*.part")} == {"of another program.part", part.name}
    assert len(os.listdir(tmp_path / "deep")) == 1
    remove_dead_parts(tmp_path / "deep")
    remove_dead_parts(tmp_path / "missing")
    assert os.listdir(tmp_path / "deep") == []


def test_natural_order_compares_digits_as_numbers() -> None:
    names = ["10_b", "9_b", "9_a", "run2/10", "run2/9"]
    assert sorted(names[:3], key=natural_key) == ["9_a", "9_b", "10_b"]
    assert sorted(names[3:], key=natural_key) == ["run2/9", "run2/10"]


def test_a_cell_is_no_formula_and_numbers_stay() -> None:
    for number in (-1.2, 3, None, "-1.2", "+3e-4", "-inf", "1e-3", "nan", "plain", ""):
        assert spreadsheet_cell(number) == number
    for formula in ("=1", "+a", "-a", "@a", "-1+1", "\uff1d1"):
        assert spreadsheet_cell(formula) == f"'{formula}"
    assert spreadsheet_cell("\t=1\x1b[2J\udcff") == r"\t=1\x1b[2J\udcff"
