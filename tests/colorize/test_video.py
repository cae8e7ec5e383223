"""Colors, time stamps and orientation of films."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from colorlab.colorize import film, video
from colorlab.colorize.film import color_film
from colorlab.colorize.jobs import Options
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.models.inference import predict
from support.films import MATRICES, SIZE, make_film, make_marked_film, read_film

av = pytest.importorskip("av")
Colorspace, Disposition = av.video.reformatter.Colorspace, av.stream.Disposition

OPTIONS = Options(size=32, batch_size=4)

UPRIGHT = {
    (90,): Image.Transpose.ROTATE_90, (-90,): Image.Transpose.ROTATE_270, (180,): Image.Transpose.ROTATE_180,
    (0, True): Image.Transpose.FLIP_LEFT_RIGHT, (90, True): Image.Transpose.TRANSVERSE,
}  # fmt: skip
"""How a player turns frames, by the rotation and flip in their display matrix."""


def lightness_of(frame: av.VideoFrame, matrix: Colorspace) -> float:
    """Return the mean L of a frame."""
    rgb = frame.reformat(format="gbrp", src_colorspace=matrix, interpolation=video.EXACT).to_ndarray()
    return rgb2lab(rgb / 255)[..., 0].mean()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
@pytest.mark.parametrize("marks", [(1, 1, 1), (6, 6, 6), (9, 14, 9), (7, 7, 7), (12, 13, 1)])
def test_colorspace_and_lightness_are_kept(
    model: CUNet, tmp_path: Path, marks: tuple[int, int, int], suffix: str
) -> None:
    source, target = make_marked_film(tmp_path / "old.mp4", *marks), tmp_path / f"new{suffix}"
    list(color_film(source, target, model, Options(size=32, saturation=0.1)))
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
        list(color_film(source, tmp_path / "new.mp4", model, OPTIONS))
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_without_time_stamps_get_consecutive_ones(model: CUNet, tmp_path: Path, suffix: str) -> None:
    """In a raw stream, at a rate that is not the default of FFmpeg's demuxer."""
    source = tmp_path / "bare.mkv"
    with av.open(str(source), "w", format="h264") as out:
        picture = out.add_stream("libx264", rate=30, width=SIZE[0], height=SIZE[1])
        for number in range(12):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE[::-1], 3), 20 * number, np.uint8), "rgb24")
            frame.pts = number
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
    list(color_film(source, target := tmp_path / f"new{suffix}", model, OPTIONS))
    times = [float(time) for time in read_film(target).times]
    assert times == pytest.approx([number / 30 for number in range(12)], abs=0.001)


@pytest.mark.parametrize(("pose", "suffix"), [*((pose, ".mp4") for pose in UPRIGHT), ((90,), ".mkv"), ((90,), ".mov")])
def test_the_orientation_is_kept_and_the_network_gets_upright_frames(
    model: CUNet, tmp_path: Path, pose: tuple, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_film(tmp_path / "old.mp4", frames=3, pose=pose, sound=False)
    seen = []
    monkeypatch.setattr(film, "predict", lambda *words: seen.append(words[1]) or predict(*words))
    list(color_film(source, target := tmp_path / f"new{suffix}", model, OPTIONS))
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
