"""The user's key, and the digests made with it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from colorlab.runs.seal import is_sealed, sealed


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the place of the key of a user who has none yet."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "colorlab" / "key"


def written(folder: Path, text: str) -> Path:
    (folder / "file.yaml").write_text(text)
    return folder / "file.yaml"


def test_a_text_is_the_users_until_it_is_changed(tmp_path: Path, key: Path) -> None:
    text = sealed("- a\n- b\n")
    assert text.startswith("- a\n- b\n# recorded by ")
    assert is_sealed(written(tmp_path, text))
    for other in (text.replace("b", "c"), text + "- c\n", text[:-2], text[:20], "- a\n- b\n", "", sealed("") + text):
        assert not is_sealed(written(tmp_path, other))
    assert not is_sealed(tmp_path / "missing.yaml")


def test_the_key_is_the_users_alone(tmp_path: Path, key: Path) -> None:
    assert not is_sealed(written(tmp_path, "- a\n# recorded by \n"))
    assert not key.exists()  # looking makes none
    file = written(tmp_path, sealed("- a\n"))
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in key.parent.iterdir()] == ["key"]
    key.chmod(0o644)  # others may have read it: it is replaced, and what it has sealed is not believed
    assert not is_sealed(file)
    assert is_sealed(written(tmp_path, sealed("- a\n")))
    key.write_bytes(b"short")
    assert is_sealed(written(tmp_path, sealed("- a\n")))
    key.unlink()
    sealed("- a\n")
    assert not is_sealed(file)


def test_programs_that_start_at_once_make_one_key(key: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(sealed, ["- a\n"] * 16))) == 1


def test_a_file_system_without_hard_links_has_a_key_too(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    assert is_sealed(written(tmp_path, sealed("- a\n")))


def test_where_no_file_can_be_private_no_key_is_left_and_it_is_said_once(
    tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As on exFAT, CIFS, or a disk of Windows in WSL: all files have the same mode."""
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0o777: real(path, flags, mode | 0o055))
    for _ in range(3):
        assert sealed("- a\n") == "- a\n"
    assert list(key.parent.iterdir()) == []
    said = capsys.readouterr().err
    assert said.startswith(f"colorlab: Files in {key.parent} can be read by other users")
    assert said.count("\n") == 1
    key.write_bytes(bytes(32))  # as an earlier version left it
    key.chmod(0o755)
    sealed("- a\n")
    assert [key.read_bytes(), *key.parent.iterdir()] == [bytes(32), key]
    assert capsys.readouterr().err == ""


def test_on_windows_the_mode_says_nothing(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sealed("- a\n")
    key.chmod(0o666)  # what Windows shows for every file
    before = key.read_bytes()
    monkeypatch.delattr(os, "getuid")
    assert is_sealed(written(tmp_path, sealed("- a\n")))
    assert key.read_bytes() == before


def test_without_a_home_nothing_is_sealed(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (written(tmp_path, "a file"), Path("/proc/colorlab")):
        monkeypatch.setenv("XDG_STATE_HOME", str(place))
        assert sealed("- a\n") == "- a\n"
        assert not is_sealed(written(tmp_path, "- a\n# recorded by \n"))
    monkeypatch.delenv("XDG_STATE_HOME")

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    assert sealed("- a\n") == "- a\n"
