"""Films made, colored, and read back; their sound and their time stamps must be those they had."""

import sys
import time
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import checkpoint_of, start
from PIL import Image

import colorlab
from colorlab import colorize as command
from colorlab.coloring import film
from colorlab.coloring.album import How
from colorlab.coloring.film import Steadier, color_film
from colorlab.data.images import SAMPLES
from colorlab.errors import UserError
from colorlab.models import CUNet

av = pytest.importorskip("av")

SIZE = (160, 96)
TICK = Fraction(1, 12_800)
HOW = How(size=32, batch_size=4)


def make_film(path: Path, frames: int = 24, rotation: int = 0, sound: bool = True) -> Path:
    """A pan over a photograph, with frames at uneven times and a tone."""
    photograph = np.asarray(Image.open(SAMPLES / "explore_monuments_france_montstmichel.jpg").convert("L"))
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt, picture.bit_rate = *SIZE, "yuv420p", 4_000_000
        picture.codec_context.time_base = TICK
        if rotation:
            picture.set_display_rotation(rotation)
        tone = out.add_stream("aac", rate=44_100) if sound else None
        for number in range(frames):
            top, left = number % 60, 2 * number % 120
            seen = photograph[top : top + SIZE[1], left : left + SIZE[0]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.dstack([seen] * 3)), "rgb24")
            frame.pts, frame.time_base = number * 512 + 100 * (number % 3), TICK
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        if tone is not None:
            wave = (8000 * np.sin(np.arange(44_100 * frames // 25) * 0.06)).astype(np.int16)
            for start_at in range(0, len(wave) - 1024, 1024):
                frame = av.AudioFrame.from_ndarray(wave[None, start_at : start_at + 1024], "s16", "mono")
                frame.sample_rate, frame.pts = 44_100, start_at
                out.mux(tone.encode(frame))
            out.mux(tone.encode(None))
    return path


class Film(NamedTuple):
    """What is in a film."""

    times: list[Fraction]
    pictures: list[np.ndarray]  # as a player shows them
    sound: list[bytes]
    rate: Fraction


def read_film(path: Path) -> Film:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        rate = container.streams.video[0].average_rate
    with av.open(str(path)) as container:
        sound = [bytes(packet) for packet in container.demux(audio=0)] if container.streams.audio else []
    pictures = [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in frames]
    return Film([frame.pts * frame.time_base for frame in frames], pictures, sound, rate)


@pytest.fixture(scope="module")
def model() -> CUNet:
    torch.manual_seed(0)
    drawn = CUNet(width=2).eval()
    drawn.head.weight.data.mul_(100)  # strong colors
    return drawn


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "PIECE", 10)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_sound_rate_and_time_stamps_stay(model: CUNet, tmp_path: Path, suffix: str) -> None:
    """Matroska counts in milliseconds, and from the first sound."""
    true = read_film(source := make_film(tmp_path / "old.mp4"))
    shares = list(color_film(source, target := tmp_path / f"new{suffix}", model, HOW))
    colored = read_film(target)
    assert shares == sorted(shares)
    assert shares[-1] > 0.9
    assert colored.sound == true.sound
    assert float(colored.rate) == pytest.approx(float(true.rate), rel=1e-3)
    shift = colored.times[0] - true.times[0]
    assert abs(shift) < (0.03 if suffix == ".mkv" else 1e-9)
    tolerance = Fraction(1, 1000) if suffix == ".mkv" else 0
    assert all(abs(now - shift - then) <= tolerance for now, then in zip(colored.times, true.times, strict=True))
    for before, after in zip(true.pictures, colored.pictures, strict=True):
        assert after.shape == before.shape
        assert np.ptp(after.astype(int), axis=2).mean() > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({"old.mp4", target.name})


def test_a_film_taken_on_its_side_comes_out_upright(model: CUNet, tmp_path: Path) -> None:
    true = read_film(source := make_film(tmp_path / "old.mp4", frames=3, rotation=90, sound=False))
    list(color_film(source, target := tmp_path / "new.mp4", model, HOW))
    colored = read_film(target)
    assert colored.pictures[0].shape == (*SIZE, 3)
    gray, its_gray = (each.pictures[0].astype(float).mean(axis=2) for each in (true, colored))
    assert np.corrcoef(gray.flatten(), its_gray.flatten())[0, 1] > 0.9


@pytest.mark.usefixtures("small_pieces")
def test_an_interrupted_film_goes_on_and_ends_as_an_uninterrupted_one(
    model: CUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_film(tmp_path / "old.mp4")
    list(color_film(source, whole := tmp_path / "whole.mp4", model, HOW))
    course = color_film(source, target := tmp_path / "new.mp4", model, HOW)
    while next(course) < 0.6:  # in the second piece
        pass
    course.close()
    assert not target.exists()
    asked = []
    monkeypatch.setattr(film, "predict", lambda *words: asked.append(len(words[1])) or predict(*words))
    list(color_film(source, target, model, HOW))
    assert sum(asked) == 14  # of 24
    first, second = read_film(whole), read_film(target)
    assert first.times == second.times
    assert all(np.array_equal(one, other) for one, other in zip(first.pictures, second.pictures, strict=True))


predict = film.predict


def test_pieces_colored_in_another_way_are_not_taken(model: CUNet, tmp_path: Path) -> None:
    source = make_film(tmp_path / "old.mp4", sound=False)
    course = color_film(source, tmp_path / "new.mp4", model, HOW)
    next(course)
    course.close()
    (pieces,) = tmp_path.glob(".new.mp4.pieces")
    before = (pieces / "fingerprint").read_text()
    list(color_film(source, tmp_path / "new.mp4", model, How(size=32, saturation=0)))
    assert not pieces.exists()
    gray = read_film(tmp_path / "new.mp4").pictures[0]
    assert np.ptp(gray.astype(int), axis=2).mean() < 4
    assert film._fingerprint(source, model, HOW) == before
    assert film._fingerprint(source, CUNet(width=2), HOW) != before


def test_a_killed_command_goes_on(tmp_path: Path) -> None:
    """A real process, killed with -9 in the middle."""
    torch.manual_seed(0)
    checkpoint_of(CUNet(width=2), tmp_path / "cunet.ckpt")
    make_film(tmp_path / "old.mp4", frames=130, sound=False)
    words = ("old.mp4", "--checkpoint", "cunet.ckpt", "-o", "new.mp4", "--size", "32", "--batch-size", "4")
    process = start("colorize", *words, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".new.mp4.pieces/000000.mp4")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (tmp_path / "new.mp4").exists()
    again = color_film(
        tmp_path / "old.mp4", tmp_path / "new.mp4", colorlab.load(tmp_path / "cunet.ckpt"), How(size=32, batch_size=4)
    )
    assert len(list(again)) == 3  # the last ten frames, four at a time
    assert len(read_film(tmp_path / "new.mp4").times) == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cunet.ckpt", "new.mp4", "old.mp4"]


# -- steady ------------------------------------------------------------------------------------------


def test_steady_color_follows_what_moves_and_flickers_less() -> None:
    """Noise on the colors of a moving photograph, whose motion is known."""
    rgb = np.asarray(Image.open(SAMPLES / "explore_monuments_france_montstmichel.jpg").convert("L"), dtype=np.float32)
    lightness = torch.from_numpy(rgb.copy())[None, None] * 100 / 255
    generator = torch.Generator().manual_seed(0)
    flicker = {}
    for steady in (0.0, 0.8):
        steadier, before, found = Steadier(steady), None, []
        for number in range(12):
            shown = lightness[..., 2 * number : 2 * number + 128, 4 * number : 4 * number + 160]
            ab = shown.expand(-1, 2, -1, -1) / 2 + 5 * torch.randn(1, 2, 128, 160, generator=generator)
            now = steadier(shown, ab)
            if before is not None:
                found.append((now[..., :-2, :-4] - before[..., 2:, 4:]).square().mean().sqrt())
            before = now
        flicker[steady] = torch.stack(found[4:]).mean()
    assert flicker[0.8] < 0.45 * flicker[0]


def test_behind_a_cut_the_prediction_stands_alone() -> None:
    steadier = Steadier(0.8)
    steadier(torch.full((1, 1, 32, 48), 20.0), torch.full((1, 2, 32, 48), 50.0))
    ab = steadier(torch.full((1, 1, 32, 48), 80.0), torch.full((1, 2, 32, 48), -50.0))
    assert (ab + 50).abs().max() < 1e-3


# -- mistakes ----------------------------------------------------------------------------------------


def test_what_cannot_be_colored_is_said_and_leaves_nothing(model: CUNet, tmp_path: Path) -> None:
    source = make_film(tmp_path / "old.mp4", frames=3)
    for target, how, sentence in (
        ("old.mp4", How(force=True), "its result would replace it"),
        ("new.avi", HOW, r"films are not written as \.avi"),
        ("new.webm", HOW, r"its sound cannot be copied into this kind of file: \.mkv takes any"),
    ):
        with pytest.raises(UserError, match=sentence):
            list(color_film(source, tmp_path / target, model, how))
    assert not list(tmp_path.glob("*.webm"))


def test_the_command_says_what_is_wrong_with_a_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoint_of(CUNet(width=2), Path("cunet.ckpt"))
    content = make_film(Path("good.mp4"), frames=3).read_bytes()
    Path("torn.mp4").write_bytes(content[: len(content) // 2])
    Path("text.mkv").write_text("no film")

    def said(*words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["colorlab-colorize", *words, "--checkpoint", "cunet.ckpt", "--size", "32"])
        with pytest.raises(SystemExit) as left:
            command.main()
        assert left.value.code == 1
        return [line for line in capsys.readouterr().err.splitlines() if line]

    damaged = "it is truncated or damaged."
    assert said("good.mp4", "torn.mp4", "text.mkv", "-o", "new") == [
        f"colorlab: torn.mp4: {damaged}", f"colorlab: text.mkv: {damaged}"
    ]  # fmt: skip
    assert [path.name for path in Path("new").glob("*")] == ["good.mp4"]
    assert said("good.mp4", "-o", "-") == ["colorlab: good.mp4: films are not written to standard output."]
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    assert said("good.mp4", "-o", "other") == ["colorlab: good.mp4: films need PyAV: pip install 'colorlab[video]'."]
