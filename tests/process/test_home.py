"""Processes of users without a home folder."""

import getpass
import os
import pwd
import tempfile
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from colorlab.process.home import FOLDERS, take_home
from colorlab.runs.seal import is_sealed, sealed


@pytest.fixture
def unknown_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Be a user that the system does not know, as with `docker run --user 12345`, and return the temporary folder."""

    def unknown(number: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "access", lambda folder, _: Path(folder).is_relative_to(tmp_path))  # root may write to /
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", *FOLDERS):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / f"colorlab-{os.getuid()}"


@pytest.mark.parametrize("home", [None, "/", "/nonexistent"])
def test_an_unknown_user_gets_folders_of_its_own(
    unknown_user: Path, home: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    if home:
        monkeypatch.setenv("HOME", home)
    for _ in range(2):  # the second time, there is nothing to do
        take_home()
    assert user_cache_path("colorlab") == unknown_user / ".cache" / "colorlab"
    (unknown_user / "words.yaml").write_text(sealed("- a\n"))
    assert is_sealed(unknown_user / "words.yaml")
    assert getpass.getuser() == str(os.getuid())
    assert os.path.expanduser("~/photographs") == ("/photographs" if home == "/" else f"{unknown_user}/photographs")
    assert unknown_user.stat().st_mode & 0o777 == 0o700
    said = f"colorlab: There is no home folder that can be written to: caches are in {unknown_user}.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("trap", ["link", "open"])
def test_a_folder_that_somebody_else_could_use_is_not_taken(unknown_user: Path, trap: str) -> None:
    if trap == "link":
        (elsewhere := unknown_user.parent / "elsewhere").mkdir()
        unknown_user.symlink_to(elsewhere)
    else:
        unknown_user.mkdir(mode=0o700)
        unknown_user.chmod(0o777)
    take_home()
    (taken,) = unknown_user.parent.glob(f"{unknown_user.name}-*")
    assert user_cache_path("colorlab") == taken / ".cache" / "colorlab"


def test_who_has_a_home_folder_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    before = dict(os.environ)
    take_home()
    assert dict(os.environ) == before
