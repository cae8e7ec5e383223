"""Films colored from end to end."""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from colorlab.colorize import __main__ as command
from colorlab.colorize import files
from colorlab.colorize.film import color_film
from colorlab.colorize.jobs import Options, plan_jobs
from colorlab.errors import UserError
from colorlab.images.failures import explain_failure
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint
from support.films import SIZE, make_film, read_film

av = pytest.importorskip("av")
Colorspace, Disposition = av.video.reformatter.Colorspace, av.stream.Disposition

OPTIONS = Options(size=32, batch_size=4)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".webm"])
def test_sound_frame_rate_and_time_stamps_are_kept(model: CUNet, tmp_path: Path, suffix: str) -> None:
    """Matroska and WebM round time stamps to milliseconds and start at the first sound."""
    true = read_film(source := make_film(tmp_path / ("old.webm" if suffix == ".webm" else "old.mp4")))
    shares = list(color_film(source, target := tmp_path / f"new{suffix}", model, OPTIONS))
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


def test_side_by_side_of_a_rotated_film(model: CUNet, tmp_path: Path) -> None:
    source = make_film(tmp_path / "old.mp4", frames=3, pose=(90,), sound=False)
    list(color_film(source, target := tmp_path / "new.mp4", model, Options(size=32, side_by_side=True)))
    (pair, *_) = read_film(target).pictures
    assert pair.shape == (SIZE[0], 2 * SIZE[1], 3)
    gray, colored = np.hsplit(pair.astype(int), 2)
    assert np.ptp(gray, axis=2).mean() < 4 < np.ptp(colored, axis=2).mean()


def test_an_avi_becomes_a_matroska_and_avi_is_refused_as_target(
    model: CUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_film(tmp_path / "old.avi", late=0)
    monkeypatch.chdir(tmp_path)
    (job,), failures = plan_jobs(["old.avi"], "new")
    assert failures == []
    list(color_film(job.source, job.target, model, OPTIONS))
    true, colored = read_film(source), read_film(Path("new/old.mkv"))
    assert colored.sound == true.sound
    assert np.diff(colored.times) == pytest.approx(np.diff(true.times), abs=0.0011)
    assert len(colored.times) == 24
    (job,), _ = plan_jobs(["old.avi"], "new.avi")
    with pytest.raises(UserError, match=r"films are not written as \.avi: use \.m4v, \.mkv, \.mov, \.mp4, \.webm"):
        list(color_film(job.source, job.target, model, OPTIONS))
    Path("old.mkv").touch()
    (job,), (failure,) = plan_jobs(["old.avi", "old.mkv"], "new")
    assert str(failure) == "old.mkv: its result would have the name of that of old.avi."


def test_impossible_targets_are_refused_and_leave_no_files(model: CUNet, tmp_path: Path) -> None:
    source = make_film(tmp_path / "old.mp4", frames=3)
    subtitled = make_film(tmp_path / "subtitled.mkv", frames=3, subtitles=True)
    with pytest.raises(UserError, match=r"its subtitles \(srt\) cannot be copied into a \.mp4: use \.mkv"):
        list(color_film(subtitled, tmp_path / "new.mp4", model, OPTIONS))
    for target, options, message in (
        ("old.mp4", Options(force=True), "its result would replace it"),
        ("new.avi", OPTIONS, r"films are not written as \.avi"),
        ("new.webm", OPTIONS, r"its sound \(aac\) cannot be copied into a \.webm: use \.mp4"),
    ):
        with pytest.raises(UserError, match=message):
            list(color_film(source, tmp_path / target, model, options))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.mp4", "subtitled.mkv"]


def test_a_full_disk_is_reported(model: CUNet, tmp_path: Path, full_disk: Path) -> None:
    source = make_film(tmp_path / "old.mp4", frames=60)
    with pytest.raises(OSError, match="No space left") as error:
        list(color_film(source, full_disk / "new.mp4", model, OPTIONS))
    assert explain_failure(error.value) == "no space left to write its result"
    assert not list(full_disk.glob("*.mp4"))


def test_the_command_reports_unusable_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    save_checkpoint(CUNet(width=2), Path("cunet.ckpt"))
    content = make_film(Path("good.mp4"), frames=3).read_bytes()
    Path("torn.mp4").write_bytes(content[: len(content) // 2])
    Path("text.mkv").write_text("no film")

    def errors(*words: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", ["colorlab-colorize", *words, "--checkpoint", "cunet.ckpt", "--size", "32"])
        with pytest.raises(SystemExit) as left:
            command.main()
        assert left.value.code == 1
        return [line for line in capsys.readouterr().err.splitlines() if line]

    damaged = "it is truncated or damaged."
    assert errors("good.mp4", "torn.mp4", "text.mkv", "-o", "new") == [
        f"colorlab: torn.mp4: {damaged}", f"colorlab: text.mkv: {damaged}"
    ]  # fmt: skip
    assert [path.name for path in Path("new").glob("*")] == ["good.mp4"]
    assert errors("good.mp4", "-o", "-") == ["colorlab: good.mp4: films are not written to standard output."]
    monkeypatch.setattr(files.importlib.util, "find_spec", lambda name: None)
    assert errors("good.mp4", "-o", "other") == ["colorlab: good.mp4: films need PyAV: pip install av."]
