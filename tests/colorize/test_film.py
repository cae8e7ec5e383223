"""Films made, colored, and read back; their sound and their time stamps must be those they had."""

import io
import signal
import sys
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

import colorlab
from colorlab.colorize import __main__ as command
from colorlab.colorize import film
from colorlab.colorize.album import How, plan, reason_of
from colorlab.colorize.film import Steadier, color_film
from colorlab.data.splits import SAMPLES
from colorlab.errors import UserError
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint
from support.command_process import CommandProcess
from support.fault_injection import at_call

av = pytest.importorskip("av")
Colorspace, Disposition = av.video.reformatter.Colorspace, av.stream.Disposition

SIZE = (160, 96)
TICK = Fraction(1, 12_800)
HOW = How(size=32, batch_size=4)


CODECS = {
    ".avi": ("mpeg4", "libmp3lame", None), ".mkv": ("mpeg4", "aac", "subrip"), ".mp4": ("mpeg4", "aac", "mov_text"),
    ".webm": ("libvpx-vp9", "libopus", "webvtt"),
}  # fmt: skip
"""Of the picture, the sound and the subtitles of a film by its suffix."""


def make_film(
    path: Path, frames: int = 24, pose: tuple = (), sound: bool = True, subtitles: bool = False, late: int = 100
) -> Path:
    """A pan over a photograph, with frames at uneven times (every third so many ticks late) and a tone."""
    photograph = np.asarray(Image.open(SAMPLES / "explore_monuments_france_montstmichel.jpg").convert("L"))
    codec, voice, text = CODECS[path.suffix]
    with av.open(str(path), "w") as out:
        picture = out.add_stream(codec, rate=25, options={"cpu-used": "8"} if codec == "libvpx-vp9" else {})
        picture.width, picture.height, picture.pix_fmt, picture.bit_rate = *SIZE, "yuv420p", 4_000_000
        picture.codec_context.time_base = TICK if late else Fraction(1, 25)
        if pose:
            picture.set_display_rotation(*pose)
        tone = out.add_stream(voice, rate=48_000) if sound else None
        if tone:
            tone.metadata["language"] = "fra"
        if subtitles:
            words = out.add_mux_stream(text, time_base=Fraction(1, 1000))
            words.metadata["language"] = "deu"
            out.metadata.update({"title": "Regatta", "creation_time": "1932-05-01T12:00:00.000000Z"})
            out.set_chapters(
                [{"id": 1, "start": 0, "end": 500, "time_base": Fraction(1, 1000), "metadata": {"title": "Start"}}]
            )
        for number in range(frames):
            top, left = number % 60, 2 * number % 120
            seen = photograph[top : top + SIZE[1], left : left + SIZE[0]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.dstack([seen] * 3)), "rgb24")
            frame.pts, frame.time_base = number * 512 + late * (number % 3), TICK
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        if tone is not None:
            wave = (8000 * np.sin(np.arange(48_000 * frames // 25) * 0.06)).astype(np.int16)
            for start_at in range(0, len(wave) - 960, 960):
                frame = av.AudioFrame.from_ndarray(wave[None, start_at : start_at + 960], "s16", "mono")
                frame.sample_rate, frame.pts = 48_000, start_at
                out.mux(tone.encode(frame))
            out.mux(tone.encode(None))
        if subtitles:
            for start_at, said in ((0, b"Ahoy"), (400, b"Land")):
                packet = av.Packet(len(said).to_bytes(2, "big") + said if text == "mov_text" else said)
                packet.stream, packet.time_base, packet.duration = words, Fraction(1, 1000), 300
                packet.pts = packet.dts = start_at
                out.mux(packet)
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
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_sound_rate_and_time_stamps_stay(model: CUNet, tmp_path: Path, suffix: str) -> None:
    """Matroska, and so WebM, counts in milliseconds, and from the first sound."""
    true = read_film(source := make_film(tmp_path / ("old.webm" if suffix == ".webm" else "old.mp4")))
    shares = list(color_film(source, target := tmp_path / f"new{suffix}", model, HOW))
    colored = read_film(target)
    assert shares == sorted(shares)
    assert shares[-1] > 0.9
    assert colored.sound == true.sound
    assert float(colored.rate) == pytest.approx(float(true.rate), rel=1e-3)
    shift = colored.times[0] - true.times[0]
    in_milliseconds = suffix in (".mkv", ".webm")
    assert abs(shift) < (0.03 if in_milliseconds else 1e-9)
    tolerance = Fraction(1, 1000) if in_milliseconds else 0
    assert all(abs(now - shift - then) <= tolerance for now, then in zip(colored.times, true.times, strict=True))
    for before, after in zip(true.pictures, colored.pictures, strict=True):
        assert after.shape == before.shape
        assert np.corrcoef(*(each.mean(axis=2).flatten() for each in (before, after)))[0, 1] > 0.9
        assert np.ptp(after.astype(int), axis=2).mean() > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted({source.name, target.name})


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_subtitles_chapters_and_what_a_film_says_of_itself_stay(model: CUNet, tmp_path: Path, suffix: str) -> None:
    def told(path: Path) -> dict[str, object]:
        with av.open(str(path)) as container:
            spoken, written = container.streams.audio[0], container.streams.subtitles[0]
            packets = [
                packet for packet in container.demux(written) if packet.size > 2
            ]  # MP4 fills gaps with empty ones
            return {
                "words": [(bytes(packet), packet.pts * packet.time_base, packet.duration) for packet in packets],
                "kind": written.codec_context.name,
                "languages": (spoken.language, written.language),
                "dispositions": (spoken.disposition, written.disposition),
                "chapters": [(each["start"], each["end"], each["metadata"]["title"]) for each in container.chapters()],
                "title": container.metadata["title"],
                "date": container.metadata["creation_time"],
            }

    source = make_film(tmp_path / f"old{suffix}", subtitles=True)
    list(color_film(source, target := tmp_path / f"new{suffix}", model, HOW))
    before, after = told(source), told(target)
    assert len(before["words"]) == 2
    assert before["languages"] == ("fra", "deu")
    assert after == before


def make_rich_film(path: Path) -> Path:
    """A film with a cover, chapters, a second picture, and where that is possible a font."""
    Image.new("RGB", (60, 40), "red").save(buffer := io.BytesIO(), "PNG")
    with av.open(str(path), "w") as out:
        pictures = [out.add_stream("mpeg4", rate=25, width=SIZE[0], height=SIZE[1]) for _ in range(2)]
        pictures[0].metadata.update(language="fra", title="Harbor")
        out.set_chapters(
            [{"id": 1, "start": 0, "end": 80, "time_base": Fraction(1, 1000), "metadata": {"title": "Start"}}]
        )
        if path.suffix == ".mkv":
            out.add_attachment("cover.png", "image/png", buffer.getvalue())
            out.add_attachment("font.ttf", "font/ttf", b"a font")
        else:
            cover = out.add_mux_stream("png", width=60, height=40, time_base=Fraction(1, 25))
            cover.disposition = Disposition.attached_pic
            packet = av.Packet(buffer.getvalue())
            packet.stream, packet.pts, packet.dts = cover, 0, 0
            out.mux(packet)
        for number in range(3):
            for picture in pictures:
                frame = av.VideoFrame.from_ndarray(np.full((*SIZE[::-1], 3), 60 * number, np.uint8), "rgb24")
                frame.pts = number
                out.mux(picture.encode(frame))
        for picture in pictures:
            out.mux(picture.encode(None))
    return path


@pytest.mark.parametrize("old", [".mkv", ".mp4"])
@pytest.mark.parametrize("new", [".mkv", ".mov", ".mp4", ".webm"])
def test_what_is_beside_the_picture_stays_or_is_named(
    model: CUNet, tmp_path: Path, old: str, new: str, capsys: pytest.CaptureFixture
) -> None:
    source = make_rich_film(tmp_path / f"old{old}")
    list(color_film(source, target := tmp_path / f"new{new}", model, HOW))
    with av.open(str(source)) as before, av.open(str(target)) as after:
        (picture, *covers), fonts = after.streams.video, after.streams.attachments
        assert picture.language == "fra"
        assert picture.metadata["title" if new in (".mkv", ".webm") else "name"] == "Harbor"
        assert "BPS" not in picture.metadata
        left_out = ["another moving picture (mpeg4)"]
        if new in (".mkv", ".mp4"):
            (cover,) = covers
            assert cover.disposition == Disposition.attached_pic
            contents = [
                bytes(next(film.demux(stream))) for film, stream in ((before, before.streams.video[2]), (after, cover))
            ]
            assert contents[0] == contents[1]
        else:
            assert not covers
            left_out.append("a cover (png)")
        if (old, new) == (".mkv", ".mkv"):
            assert [(each.name, each.mimetype, each.data) for each in fonts] == [("font.ttf", "font/ttf", b"a font")]
        elif old == ".mkv":
            left_out.append("font.ttf")
    assert capsys.readouterr().err == f"colorlab: {source}: left out of {target}: {', '.join(left_out)}.\n"


def make_marked_film(path: Path, primaries: int, transfer: int, matrix: int) -> Path:
    """A film of one color, which says what its colors are."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=25, width=SIZE[0], height=SIZE[1], options={"qp": "1"})
        context = picture.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = (
            primaries,
            transfer,
            matrix,
            1,
        )
        frame = av.VideoFrame.from_ndarray(np.full((*SIZE[::-1], 3), (40, 90, 220), np.uint8), "rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=MATRICES[matrix])
        for number in range(3):
            frame.pts = number
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
    return path


def lightness_of(frame: av.VideoFrame, matrix: Colorspace) -> float:
    """The mean L of a frame."""
    rgb = frame.reformat(format="gbrp", src_colorspace=matrix, interpolation=film.EXACT).to_ndarray()
    return rgb2lab(rgb / 255)[..., 0].mean()


MATRICES = {1: Colorspace.ITU709, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020}
"""By FFmpeg's numbers."""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
@pytest.mark.parametrize("marks", [(1, 1, 1), (6, 6, 6), (9, 14, 9), (7, 7, 7), (12, 13, 1)])
def test_a_film_keeps_what_its_colors_are_and_its_own_l(
    model: CUNet, tmp_path: Path, marks: tuple[int, int, int], suffix: str
) -> None:
    source, target = make_marked_film(tmp_path / "old.mp4", *marks), tmp_path / f"new{suffix}"
    list(color_film(source, target, model, How(size=32, saturation=0.1)))
    with av.open(str(target)) as colored:
        frame = next(colored.decode(video=0))
    primaries, transfer, matrix = marks
    assert (frame.color_primaries, frame.color_trc) == (primaries, transfer)
    assert MATRICES.get(frame.colorspace, Colorspace.ITU601) == MATRICES[matrix]
    with av.open(str(source)) as original:
        true = next(original.decode(video=0))
    L = [lightness_of(each, MATRICES[matrix]) for each in (true, frame)]
    assert L[1] == pytest.approx(L[0], abs=0.6)  # YUV has 219 levels, 0.4 apart


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_film_in_hdr_is_refused(model: CUNet, tmp_path: Path, suffix: str, transfer: int, name: str) -> None:
    source = make_marked_film(tmp_path / f"old{suffix}", 9, transfer, 9)
    with pytest.raises(UserError, match=rf"it is in HDR \({name}\), and films are colored in standard range"):
        list(color_film(source, tmp_path / "new.mp4", model, HOW))
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_without_times_come_one_after_the_other(model: CUNet, tmp_path: Path, suffix: str) -> None:
    """A bare stream, at a rate that FFmpeg's reader of such streams does not ask for."""
    source = tmp_path / "bare.mkv"
    with av.open(str(source), "w", format="h264") as out:
        picture = out.add_stream("libx264", rate=30, width=SIZE[0], height=SIZE[1])
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE[::-1], 3), 20 * number, np.uint8), "rgb24")
            frame.pts = number
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
    list(color_film(source, target := tmp_path / f"new{suffix}", model, HOW))
    times = [float(time) for time in read_film(target).times]
    assert times == pytest.approx([number / 30 for number in range(12)], abs=0.001)


UPRIGHT = {
    (90,): Image.Transpose.ROTATE_90, (-90,): Image.Transpose.ROTATE_270, (180,): Image.Transpose.ROTATE_180,
    (0, True): Image.Transpose.FLIP_LEFT_RIGHT, (90, True): Image.Transpose.TRANSVERSE,
}  # fmt: skip
"""What a player does with frames of each pose: rotated counterclockwise, then mirrored."""


@pytest.mark.parametrize(("pose", "suffix"), [*((pose, ".mp4") for pose in UPRIGHT), ((90,), ".mkv"), ((90,), ".mov")])
def test_a_film_keeps_how_it_lies_and_the_network_sees_it_upright(
    model: CUNet, tmp_path: Path, pose: tuple, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_film(tmp_path / "old.mp4", frames=3, pose=pose, sound=False)
    seen = []
    monkeypatch.setattr(film, "predict", lambda *words: seen.append(words[1]) or predict(*words))
    list(color_film(source, target := tmp_path / f"new{suffix}", model, HOW))
    stored = []
    for path in (source, target):
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
            stored.append((frame.to_ndarray(format="rgb24"), bytes(frame.side_data["DISPLAYMATRIX"])))
    (before, its_matrix), (after, matrix) = stored
    assert matrix == its_matrix
    assert after.shape == (*SIZE[::-1], 3)
    assert np.corrcoef(before.mean(axis=2).flatten(), after.mean(axis=2).flatten())[0, 1] > 0.95
    upright = Image.fromarray(before).convert("L").transpose(UPRIGHT[pose])
    shown = seen[0][0, 0].numpy()
    expected = np.asarray(upright.resize(shown.shape[::-1], Image.Resampling.BILINEAR))
    assert np.corrcoef(shown.flatten(), expected.flatten())[0, 1] > 0.99


def test_two_of_a_film_on_its_side_stand_beside_each_other(model: CUNet, tmp_path: Path) -> None:
    source = make_film(tmp_path / "old.mp4", frames=3, pose=(90,), sound=False)
    list(color_film(source, target := tmp_path / "new.mp4", model, How(size=32, side_by_side=True)))
    (pair, *_) = read_film(target).pictures
    assert pair.shape == (SIZE[0], 2 * SIZE[1], 3)
    gray, colored = np.hsplit(pair.astype(int), 2)
    assert np.ptp(gray, axis=2).mean() < 4 < np.ptp(colored, axis=2).mean()


def test_an_avi_becomes_a_matroska_unless_it_is_told_to_stay_one(
    model: CUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_film(tmp_path / "old.avi", late=0)
    monkeypatch.chdir(tmp_path)
    (errand,), failures = plan(["old.avi"], "new")
    assert failures == []
    list(color_film(errand.source, errand.target, model, HOW))
    true, colored = read_film(source), read_film(Path("new/old.mkv"))
    assert colored.sound == true.sound
    assert np.diff(colored.times) == pytest.approx(np.diff(true.times), abs=0.0011)
    assert len(colored.times) == 24
    (errand,), _ = plan(["old.avi"], "new.avi")
    with pytest.raises(UserError, match=r"films are not written as \.avi: use \.m4v, \.mkv, \.mov, \.mp4, \.webm"):
        list(color_film(errand.source, errand.target, model, HOW))
    Path("old.mkv").touch()
    (errand,), (failure,) = plan(["old.avi", "old.mkv"], "new")
    assert str(failure) == "old.mkv: its result would have the name of that of old.avi."


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
    """A real process, killed with -9 in the middle of its second piece."""
    torch.manual_seed(0)
    save_checkpoint(CUNet(width=2), tmp_path / "cunet.ckpt")
    make_film(tmp_path / "old.mp4", frames=130, sound=False)
    words = ("old.mp4", "--checkpoint", "cunet.ckpt", "-o", "new.mp4", "--size", "32", "--batch-size", "4")
    killed = partial(at_call, "colorlab.colorize.film:Encoder.write", 125)
    coloring = CommandProcess(*words, cwd=tmp_path, before=killed, stdout=f"{tmp_path}_said", command="colorize")
    assert coloring.wait() == -signal.SIGKILL, coloring.output()
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
    subtitled = make_film(tmp_path / "subtitled.mkv", frames=3, subtitles=True)
    with pytest.raises(UserError, match=r"its subtitles \(srt\) cannot be copied into a \.mp4: use \.mkv"):
        list(color_film(subtitled, tmp_path / "new.mp4", model, HOW))
    for target, how, sentence in (
        ("old.mp4", How(force=True), "its result would replace it"),
        ("new.avi", HOW, r"films are not written as \.avi"),
        ("new.webm", HOW, r"its sound \(aac\) cannot be copied into a \.webm: use \.mp4"),
    ):
        with pytest.raises(UserError, match=sentence):
            list(color_film(source, tmp_path / target, model, how))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.mp4", "subtitled.mkv"]


def test_no_space_left_is_said_of_a_film_too(model: CUNet, tmp_path: Path, full: Path) -> None:
    source = make_film(tmp_path / "old.mp4", frames=60)
    with pytest.raises(OSError, match="No space left") as error:
        list(color_film(source, full / "new.mp4", model, HOW))
    assert reason_of(error.value) == "no space left to write its result"
    assert not list(full.glob("*.mp4"))


def test_the_command_says_what_is_wrong_with_a_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(CUNet(width=2), Path("cunet.ckpt"))
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
