"""Published networks by one word, fetched from a server on this machine."""

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from colorlab.errors import UserError
from colorlab.runs import published as module
from colorlab.runs.published import MIRROR, PUBLISHED, fetch, published_folder, published_word
from support.file_server import Answer, FileServer, running_file_server

CONTENT = b"weights" * 10_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
S3 = "/siggraph17-df00044c.pth"
HUGGING_FACE = "/piddnad/ddcolor_modelscope/resolve/main/{}"
SAFETENSORS, BIN = (HUGGING_FACE.format(name) for name in ("model.safetensors", "pytorch_model.bin"))

NOWHERE = "http://127.0.0.1:1"  # nothing listens there


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    """Return a server that stands for the authors' places; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with running_file_server() as server:
        monkeypatch.setenv(MIRROR, f"{server.address}/")
        yield server


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let CONTENT be what siggraph17's authors published."""
    monkeypatch.setitem(PUBLISHED, "siggraph17", PUBLISHED["siggraph17"]._replace(sha256=SHA256[:8]))


def accept(path: Path) -> None:
    assert path.read_bytes() == CONTENT


def kept() -> list[str]:
    """Return what is in the cache, beside locks."""
    return sorted(path.name for path in published_folder().glob("*") if path.suffix not in (".lock", ".crc32"))


def test_weights_are_fetched_once_and_then_used_without_a_network(
    server: FileServer, known: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    server.answers[S3] = Answer(CONTENT)
    file = fetch("siggraph17", accept)
    assert file == published_folder() / "siggraph17.pth"
    assert file.read_bytes() == CONTENT
    assert kept() == ["siggraph17.pth"]
    assert capsys.readouterr().err == (
        "fetching siggraph17 (Zhang et al., SIGGRAPH 2017; about 137 MB; license: BSD-2-Clause) from"
        f" {server.address}{S3} into {published_folder()}\n"
    )
    monkeypatch.setenv(MIRROR, NOWHERE)
    assert fetch("siggraph17", accept) == file
    assert server.asked == [S3]
    assert capsys.readouterr().err == ""


def test_the_addresses_are_the_authors_unless_a_mirror_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR, raising=False)
    for word, host in (
        ("eccv16", "https://colorizers.s3.us-east-2.amazonaws.com/"),
        ("ddcolor", "https://huggingface"),
    ):
        for address in PUBLISHED[word].addresses:
            assert module._mirrored(address) == address
            assert address.startswith(host)
    assert all(hashed in entry.addresses[0] for entry in PUBLISHED.values() if (hashed := entry.sha256))
    monkeypatch.setenv(MIRROR, "ftp://somewhere")
    with pytest.raises(UserError, match=r"COLORLAB_MIRROR=ftp://somewhere must be an address such as http://"):
        fetch("ddcolor", accept)


@pytest.mark.parametrize("path", [SAFETENSORS, BIN])
def test_either_file_of_hugging_face_is_taken_and_checked_by_the_hash_it_states(server: FileServer, path: str) -> None:
    server.answers[path] = Answer(code=302, headers={"Location": "/elsewhere", "X-Linked-Etag": f'"{SHA256}"'})
    server.answers["/elsewhere"] = Answer(CONTENT)
    assert fetch("ddcolor", accept).suffix == Path(path).suffix
    assert server.asked[-2:] == [path, "/elsewhere"]


def test_a_hash_that_hugging_face_states_must_be_the_files(server: FileServer) -> None:
    server.answers[SAFETENSORS] = Answer(code=302, headers={"Location": "/elsewhere", "X-Linked-Etag": f'"{SHA256}"'})
    server.answers["/elsewhere"] = Answer(CONTENT[:-1] + b"!")
    with pytest.raises(UserError, match=r"is not the file that the authors of ddcolor published: its SHA-256 begins "):
        fetch("ddcolor", accept)
    assert kept() == []


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (Answer(CONTENT), "is not the file that the authors of siggraph17 published: its SHA-256 begins with"),
        (Answer(code=403), r"\(it answers 403 Forbidden, as that place does at times\): try again later, or fetch the"),
        (Answer(code=404), r"\(it answers 404 Not Found\): try again later"),
        (Answer(code=503), r"\(it answers 503 Service Unavailable\)"),
        (Answer(CONTENT, length=2 * len(CONTENT)), r"\(cut off after 0\.1 MB of 0\.1 MB\)|\(cut off after 0\.1 MB: "),
        (Answer(CONTENT, length=10**15), "has 1000000000.0 MB, and .* has room for"),
        (Answer(code=302, headers={"Location": "file:///etc/passwd"}), r"cannot be fetched from .*: try again later"),
    ],
)
def test_a_failing_place_is_answered_in_one_sentence_and_leaves_nothing(
    server: FileServer, answer: Answer, sentence: str
) -> None:
    server.answers[S3] = answer
    with pytest.raises(UserError, match=sentence) as failed:
        fetch("siggraph17", accept)
    assert len(str(failed.value).splitlines()) == 1
    assert kept() == []


def test_without_a_network_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for mirror, reason in (
        (NOWHERE, "Connection refused"),
        ("http://no.such.host.invalid", ""),
    ):
        monkeypatch.setenv(MIRROR, mirror)
        with pytest.raises(UserError, match=rf"^eccv16 cannot be fetched from {mirror}/colorization_\S+ \({reason}"):
            fetch("eccv16", accept)
    assert kept() == []


def test_a_place_that_stops_answering_is_given_up(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    with running_file_server() as silent:
        silent.shutdown()
        monkeypatch.setenv(MIRROR, silent.address)
        with pytest.raises(UserError, match=r"siggraph17 cannot be fetched from \S+ \(timed out\)"):
            fetch("siggraph17", accept)
    assert kept() == []


def test_what_does_not_hold_the_weights_is_not_kept(server: FileServer) -> None:
    server.answers[BIN] = Answer(b"<html>Log in to the hotel's network</html>")

    def refuse(path: Path) -> None:
        raise UserError(f"{path} holds no weights.")

    with pytest.raises(UserError, match=rf"{BIN} does not hold the weights of ddcolor: nothing is kept\."):
        fetch("ddcolor", refuse)
    assert kept() == []


def test_a_disk_without_room_is_named(
    server: FileServer, known: None, full_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(full_disk))
    for length in (None, -1):
        server.answers[S3] = Answer(CONTENT, length=length)
        with pytest.raises(UserError, match=r"No space left on device|has 0\.1 MB, and .* has room for 0\.1 MB"):
            fetch("siggraph17", accept)
        assert kept() == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_cache_that_cannot_be_written_is_named(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int
) -> None:
    """Tests may run as root, whom permissions do not stop, so the error is made here."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", refuse)
        with pytest.raises(UserError, match=rf"cannot be kept in {tmp_path}.* \({os.strerror(code)}\): XDG_CACHE_HOME"):
            fetch("siggraph17", accept)
    (tmp_path / "cache").touch()
    with pytest.raises(UserError, match=r"\((Not a directory|File exists)\)"):
        fetch("siggraph17", accept)


def test_a_file_that_has_become_damaged_is_fetched_again(
    server: FileServer, known: None, capsys: pytest.CaptureFixture
) -> None:
    server.answers[S3] = Answer(CONTENT)
    file = fetch("siggraph17", accept)
    file.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    capsys.readouterr()
    assert fetch("siggraph17", accept).read_bytes() == CONTENT
    assert capsys.readouterr().err.startswith(f"{file} is damaged: it is fetched again.\nfetching siggraph17")
    file.with_name("siggraph17.pth.crc32").unlink()  # of an earlier version
    assert fetch("siggraph17", accept) == file
    assert server.asked == [S3, S3]


def test_what_a_killed_process_left_is_removed_by_the_next(server: FileServer, known: None) -> None:
    server.answers[S3] = Answer(CONTENT)
    (left := published_folder() / "siggraph17.abc.part").mkdir(parents=True)
    (left / "siggraph17.pth").write_bytes(CONTENT[:7])
    (published_folder() / "siggraph.abc.part").mkdir()
    fetch("siggraph17", accept)
    assert kept() == ["siggraph.abc.part", "siggraph17.pth"]


def test_processes_that_start_together_fetch_once(server: FileServer, known: None) -> None:
    server.answers[S3] = Answer(CONTENT)
    threads = [Thread(target=fetch, args=("siggraph17", accept)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == [S3]


def test_ctrl_c_leaves_nothing(server: FileServer, known: None) -> None:
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    server.answers[S3] = Answer(CONTENT)
    with pytest.raises(KeyboardInterrupt):
        fetch("siggraph17", interrupt)
    assert kept() == []


def test_a_file_or_folder_of_that_name_comes_before_the_word(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert published_word("eccv16") == published_word(Path("eccv16")) == "eccv16"
    (tmp_path / "eccv16").mkdir()
    assert published_word("eccv16") is None
    assert published_word("./ddcolor") is None
    assert published_word("eccv") is None
