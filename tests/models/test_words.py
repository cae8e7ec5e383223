"""A published network by its word, in every command: fetched from a server on this machine, and then colored with."""

import hashlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

import colorlab
from colorlab.colorize.__main__ import main as colorize
from colorlab.demo.__main__ import read_models
from colorlab.errors import UserError
from colorlab.evaluate.named_models import load_models
from colorlab.export.__main__ import main as export
from colorlab.models import ECCV16, DDColor, Siggraph17
from colorlab.models.weights import read_weights
from colorlab.runs.published import MIRROR, PUBLISHED, published_folder
from support.file_server import Answer, FileServer, running_file_server
from support.published import published_layout

S3 = "/siggraph17-df00044c.pth"
TINY, TINY_SAFETENSORS = (
    f"/piddnad/ddcolor_paper_tiny/resolve/main/{name}" for name in ("pytorch_model.bin", "model.safetensors")
)


def release(layout: str) -> dict[str, Tensor]:
    """Return weights in a published layout, each tensor filled with one number, which takes little room in a file."""
    shapes = published_layout(layout)
    return {
        name: torch.tensor(place) if name.endswith("num_batches_tracked") else torch.tensor(place / 1000).expand(shape)
        for place, (name, shape) in enumerate(shapes.items())
    }


def saved(weights: dict[str, Tensor]) -> bytes:
    torch.save(weights, file := io.BytesIO())
    return file.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    """Return a server that stands for the authors' places and has siggraph17; the cache is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    content = saved(release("siggraph17"))
    sha256 = hashlib.sha256(content).hexdigest()[:8]
    monkeypatch.setitem(PUBLISHED, "siggraph17", PUBLISHED["siggraph17"]._replace(sha256=sha256))
    with running_file_server() as server:
        server.answers[S3] = Answer(content)
        monkeypatch.setenv(MIRROR, server.address)
        yield server


def run(monkeypatch: pytest.MonkeyPatch, command: object, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["colorlab", *words])
    try:
        command()
    except SystemExit as ended:
        return ended.code or 0
    return 0


def test_every_command_takes_the_word_and_one_of_them_fetches(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, macaw: Image.Image
) -> None:
    macaw.convert("L").resize((40, 32)).save("old.png")
    words = ("old.png", "--checkpoint", "siggraph17", "-o", "new.png", "--size", "16", "--device", "cpu")
    assert run(monkeypatch, colorize, *words) == 0
    assert Image.open("new.png").size == (40, 32)
    assert capsys.readouterr().err.startswith(
        "fetching siggraph17 (Zhang et al., SIGGRAPH 2017; about 137 MB; license:"
    )
    model = colorlab.load("siggraph17")
    assert isinstance(model, Siggraph17)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in release("siggraph17").items())
    assert list(read_models([Path("siggraph17")], "cpu")) == ["siggraph17"]
    (named,) = load_models(["siggraph17"])
    assert (named.name, named.checkpoint) == ("siggraph17", published_folder() / "siggraph17.pth")
    start = Siggraph17()
    read_weights(start, Path("siggraph17"))
    assert torch.equal(start.state_dict()["model_out.0.bias"], model.state_dict()["model_out.0.bias"])
    assert server.asked == [S3]
    assert capsys.readouterr().err == ""


def test_ddcolor_is_recognized_by_its_layout(server: FileServer) -> None:
    server.answers[TINY] = Answer(saved({"params": release("ddcolor_tiny")}))
    model = colorlab.load("ddcolor_tiny")
    assert isinstance(model, DDColor)
    assert model.hparams["size"] == "tiny"
    assert server.asked == [TINY_SAFETENSORS, TINY]
    assert (published_folder() / "ddcolor_tiny.bin").is_file()


def test_a_file_of_another_layout_is_not_kept(server: FileServer) -> None:
    for content in (saved(release("siggraph17") | {"extra": torch.zeros(1)}), b"<html>"):
        server.answers[TINY] = Answer(content)
        with pytest.raises(UserError, match=rf"{TINY} does not hold the weights of ddcolor_tiny: nothing is kept\."):
            colorlab.load("ddcolor_tiny")
        assert not list(published_folder().glob("*.bin"))


def test_an_export_fetches_only_if_its_file_can_be_written(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    Path("eccv16.safetensors").touch()
    assert run(monkeypatch, export, "eccv16", "--to", "safetensors") == 2
    assert "eccv16.safetensors exists: give another name with -o, or --force." in capsys.readouterr().err
    assert server.asked == []
    assert run(monkeypatch, export, "eccv16", "--to", "onnx") == 2
    assert "eccv16 cannot be fetched from " in capsys.readouterr().err


def test_a_failure_ends_in_one_sentence_and_exit_code_2(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, macaw: Image.Image
) -> None:
    macaw.save("old.png")
    assert run(monkeypatch, colorize, "old.png", "--checkpoint", "eccv16", "-o", "new.png") == 2
    said, sentence = capsys.readouterr().err.splitlines()
    assert said.startswith("fetching eccv16 ")
    assert sentence.startswith("colorlab: eccv16 cannot be fetched from ")
    assert "(it answers 404 Not Found)" in sentence
    assert not Path("new.png").exists()
    assert run(monkeypatch, colorize, "old.png", "--checkpoint", "ecv16", "-o", "new.png") == 2
    assert capsys.readouterr().err == (
        "colorlab: ecv16 does not exist: give the folder of a run, or a checkpoint, or one of built-in, eccv16,"
        " siggraph17, ddcolor_tiny, ddcolor, ddcolor_artistic.\n"
    )


def test_a_damaged_file_in_the_cache_is_named(server: FileServer) -> None:
    published_folder().mkdir(parents=True)
    (published_folder() / "siggraph17.pth").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"siggraph17\.pth is not a checkpoint .* Delete it, and it is fetched again"):
        colorlab.load("siggraph17")


def test_a_word_means_the_file_or_folder_of_that_name_if_there_is_one(server: FileServer) -> None:
    ECCV16(width=2).save_pretrained("siggraph17")
    assert isinstance(colorlab.load("siggraph17"), ECCV16)
    assert server.asked == []
