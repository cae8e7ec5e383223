"""The coloring command: its input and output, and its errors."""

import contextlib
import os
import struct
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from rich.progress import Progress

from colorlab.colorize import batching
from colorlab.colorize.__main__ import main
from colorlab.data.splits import SAMPLES
from colorlab.files import atomic_path
from colorlab.models import ECCV16
from support.command_process import CommandProcess, read_standard_input_from
from support.picture_checks import is_colored, png_chunk

PHOTOGRAPH = SAMPLES / "fishes_fish1.jpg"

Colorize = Callable[..., int]


def test_without_a_checkpoint_the_built_in_model_is_used_and_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, gray: Image.Image
) -> None:
    monkeypatch.chdir(tmp_path)
    gray.save("old.png")
    monkeypatch.setattr(sys, "argv", ["colorlab-colorize", "old.png", "-o", "new.png"])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert np.ptp(np.asarray(Image.open("new.png"), dtype=int), axis=2).mean() > 5
    assert "by the small model that comes with colorlab" in capsys.readouterr().err


def test_standard_input_and_output(checkpoint: Path, tmp_path: Path, gray: Image.Image) -> None:
    """With a run's folder in place of a checkpoint."""
    best = tmp_path / "run" / "checkpoints" / "cunet_epoch001_loss0.5.ckpt"
    best.parent.mkdir(parents=True)
    best.write_bytes(checkpoint.read_bytes())
    gray.save(tmp_path / "given", "PNG")
    words = ("-", "--checkpoint", "run", "-o", "-", "--size", "32")
    given = partial(read_standard_input_from, tmp_path / "given")
    coloring = CommandProcess(*words, cwd=tmp_path, before=given, stdout="out", stderr="error", command="colorize")
    assert coloring.wait() == 0, coloring.stderr.read_text()
    with Image.open(coloring.stdout) as colored:
        assert colored.size == gray.size
        assert is_colored(np.asarray(colored))


def test_unusable_files_are_reported_at_the_end_and_all_others_are_colored(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    gray.save("good.jpg")
    gray.save("good.png")
    gray.convert("RGB").save("good.gif", save_all=True, append_images=[gray.rotate(9)])
    tifffile.imwrite("good.tif", np.asarray(gray).astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(bytes(99_999))) + png_chunk(b"IEND", b"")
    os.mkdir("bad")
    gray.save("bad/program.jpg", "EPS")
    Path("bad/bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bomb)
    Path("bad/text.jpg").write_text("not a picture")
    Path("bad/empty.png").touch()
    for name in ("good.jpg", "good.png", "good.gif", "good.tif"):
        content = Path(name).read_bytes()
        Path("bad", name.replace("good", "torn")).write_bytes(content[: len(content) // 2])
    sentences = {
        "bad/bomb.png": "unpacks to 60000×60000 pixels", "bad/text.jpg": "not a picture", "bad/empty.png": "not a pict",
        "bad/program.jpg": "it is not a picture that can be read",
        "bad/torn.jpg": "truncated or damaged", "bad/torn.png": "truncated or damaged",
        "bad/torn.gif": "truncated or damaged", "bad/torn.tif": "cannot be read", "none.jpg": "does not exist",
        "*.xyz": "matches no file",
    }  # fmt: skip
    assert colorize("none.jpg", "bad", "*.xyz", "good.png", "good.jpg", "-o", "new") == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: ")]
    assert len(said) == len(sentences)
    for name, sentence in sentences.items():
        (line,) = (line for line in said if f" {name}: " in line)
        assert sentence in line
        assert line.endswith(".")
    assert sorted(path.name for path in Path("new").iterdir()) == ["good.jpg", "good.png"]


WRONG = {
    "album -o album/colored": "lies in album, where it would be colored the next time",
    "album -o album --force": "lies in album, where it would be colored the next time",
    "album old.png -o new.png": "takes one picture, and these are 2",
    "album old.png -o -": "takes one picture, and these are 2",
    "old.png -o new --saturation -1": "saturation=-1 must be 0 or more",
    "old.png -o new --temperature 0.4": "this cunet has none",
    "old.png -o new --size 4": "size=4 must be at least 16",
    "old.png -o new --checkpoint old.png": "old.png is not a checkpoint",
    "old.png -o new --checkpoint none": "none does not exist",
    "old.png -o new --checkpoint bare.pth": "does not say which model it holds",
    "old.png -o new --batch-size 0": "--batch-size=0 must be at least 1",
    "old.png -o new --steady 1": "--steady=1 must be at least 0 and below 1",
    "old.png -o new --device tpu": "--device tpu",
}


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage_is_answered_with_one_sentence_and_exit_code_2(
    colorize: Colorize, gray: Image.Image, words: str, capsys: pytest.CaptureFixture
) -> None:
    os.mkdir("album")
    gray.save("album/1.png")
    gray.save("old.png")
    torch.save(ECCV16(width=2).state_dict(), "bare.pth")
    before = sorted(Path().rglob("*"))
    assert colorize(*words.split()) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("colorlab: ")
    assert WRONG[words] in line
    assert sorted(Path().rglob("*")) == before


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """Become nobody for the block if this process is root, whom permissions do not bind."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_missing_permission_is_reported(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch,
    checkpoint: Path,
) -> None:  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:  # pytest's own lets nobody else in
        os.chmod(folder, 0o755)
        monkeypatch.chdir(folder)
        for name in ("1.png", "2.png", "open/3.png"):
            Path(name).parent.mkdir(exist_ok=True)
            gray.save(name)
        Path("cunet.ckpt").write_bytes(checkpoint.read_bytes())
        for name, mode in {"1.png": 0, "2.png": 0o444, "open/3.png": 0o444}.items():
            os.chmod(name, mode)
        os.mkdir("closed")
        os.mkdir("new")
        os.chmod("closed", 0o555)
        os.chmod("new", 0o777)
        with without_privileges():
            assert colorize("1.png", "2.png", "open", "-o", "new", "--checkpoint", "cunet.ckpt") == 1
            assert "colorlab: 1.png: permission denied." in capsys.readouterr().err
            assert sorted(os.listdir("new")) == ["2.png", "3.png"]
            assert colorize("2.png", "-o", "closed", "--checkpoint", "cunet.ckpt") == 1
            assert "colorlab: 2.png: permission denied." in capsys.readouterr().err
        monkeypatch.undo()


def test_a_full_disk_is_reported_and_leaves_no_partial_files(
    colorize: Colorize, gray: Image.Image, full_disk: Path, capsys: pytest.CaptureFixture
) -> None:
    gray.resize((16, 16)).save("small.png")
    tifffile.imwrite("large16.tif", np.asarray(gray).astype(np.uint16) * 257)
    for name in ("large.png", "large.jpg", "large.tif", "large.webp", "large.gif"):
        gray.resize((900, 600)).save(name)
    frames = [gray.resize((600, 400)).rotate(turn) for turn in range(3)]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    Path("large16.png").write_bytes(imagecodecs.png_encode(np.asarray(gray).astype(np.uint16) * 257))
    assert colorize("large*", "moving.gif", "small.png", "-o", full_disk) == 1
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: ")]
    assert len(said) == 8
    assert all(line.endswith(": no space left to write its result.") for line in said), said
    assert [path.name for path in full_disk.iterdir()] == ["small.png"]


def test_only_own_results_are_taken_as_finished(
    colorize: Colorize, gray: Image.Image, capsys: pytest.CaptureFixture
) -> None:
    os.mkdir("album")
    for name in ("same", "foreign", "changed_result", "changed_source"):
        gray.resize((40, 30)).save(f"album/{name}.png")
    assert colorize("album", "-o", "new") == 0
    gray.save("new/foreign.png")
    with Path("new/changed_result.png").open("ab") as file:
        file.write(b"more")
    gray.resize((30, 40)).save("album/changed_source.png")
    before = {path: path.read_bytes() for path in Path("new").iterdir()}
    capsys.readouterr()
    assert colorize("album", "-o", "new") == 1
    said = capsys.readouterr().err.splitlines()
    assert "finished before: 1 (--force colors them again)" in said
    assert sorted(line for line in said if line.startswith("colorlab: ")) == [
        f"colorlab: album/{name}.png: new/{name}.png exists: --force overwrites it."
        for name in ("changed_result", "changed_source", "foreign")
    ]
    assert colorize("album", "-o", "new", "--saturation", "0.5") == 1  # other options
    assert {path: path.read_bytes() for path in Path("new").iterdir()} == before
    assert colorize("album", "-o", "new", "--force") == 0
    assert colorize("album", "-o", "new") == 0


def test_what_a_killed_command_left_is_removed_from_the_folders_written_to(
    colorize: Colorize, gray: Image.Image
) -> None:
    os.makedirs("album/1932")
    for name in ("album/1932/2.png", "1.png"):
        gray.resize((40, 30)).save(name)
    if not (child := os.fork()):
        folders = ("", "new/1932", "new/of another album")
        for writing in [atomic_path(Path(folder, "1.png"), shared=True) for folder in folders]:
            writing.__enter__().touch()
        os._exit(0)
    os.waitpid(child, 0)
    assert colorize("1.png", "-o", "result.png") == 0
    assert not list(Path().glob("*.part"))
    assert colorize("album", "-o", "new") == 0
    assert {path.parent.name for path in Path().rglob("*.part")} == {"of another album"}


@pytest.mark.parametrize("album", ["the same", "another"])
def test_two_commands_may_write_to_one_folder_at_once(
    colorize: Colorize, gray: Image.Image, album: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The second one writes a result while the first one colors the same picture, or another of that name."""
    for folder, turn in (("the same", 0), ("another", 90)):
        os.mkdir(folder)
        gray.rotate(turn, expand=True).resize((40, 30)).save(f"{folder}/1.png")
    predict, written = batching.predict, []

    def predicting_while_another_writes(*arguments: object) -> torch.Tensor:
        if not written:
            written.append(None)
            assert colorize(album, "-o", "new") == 0
            written.append(Path("new/1.png").read_bytes())
        return predict(*arguments)

    monkeypatch.setattr(batching, "predict", predicting_while_another_writes)
    assert colorize("the same", "-o", "new") == (0 if album == "the same" else 1)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("colorlab: ")]
    assert said == (
        [] if album == "the same" else ["colorlab: the same/1.png: new/1.png exists: --force overwrites it."]
    )
    assert Path("new/1.png").read_bytes() == written[1]
    assert os.listdir("new") == ["1.png"]


@pytest.mark.parametrize("at_work", ["the network", "the progress"])
def test_ctrl_c_ends_the_command_and_its_threads(
    colorize: Colorize, gray: Image.Image, at_work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    os.mkdir("album")
    for number in range(12):
        gray.save(f"album/{number}.png")
    module, name = {"the network": (batching, "predict"), "the progress": (Progress, "advance")}[at_work]
    monkeypatch.setattr(module, name, interrupted)
    assert colorize("album", "-o", "new", "--batch-size", "2") == 130
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("picture")]
    assert not list(Path("new").glob("*.part"))
