"""Interrupted films that resume."""

import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import colorlab
from colorlab.colorize import film
from colorlab.colorize.film import color_film
from colorlab.colorize.finished import Finished
from colorlab.colorize.jobs import Options
from colorlab.colorize.pieces import fingerprints
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.models.inference import predict
from support.checkpoints import save_checkpoint
from support.command_process import CommandProcess
from support.fault_injection import at_call, call_all, set_value
from support.films import make_film, read_film

av = pytest.importorskip("av")
Colorspace, Disposition = av.video.reformatter.Colorspace, av.stream.Disposition

OPTIONS = Options(size=32, batch_size=4)


@pytest.mark.usefixtures("small_pieces")
def test_an_interrupted_film_resumes_and_equals_an_uninterrupted_one(
    model: CUNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's colors are compared before they are encoded, too."""
    predicted: list[torch.Tensor] = []
    monkeypatch.setattr(film, "predict", lambda *words: predicted.append(predict(*words)) or predicted[-1])
    source = make_film(tmp_path / "old.mp4")
    list(color_film(source, whole := tmp_path / "whole.mp4", model, OPTIONS))
    expected = torch.cat(predicted)
    course = color_film(source, target := tmp_path / "new.mp4", model, OPTIONS)
    while next(course) < 0.6:  # in the second piece
        pass
    course.close()
    assert not target.exists()
    predicted.clear()
    list(color_film(source, target, model, OPTIONS))
    assert [len(each) for each in (expected, torch.cat(predicted))] == [24, 14]
    assert torch.equal(torch.cat(predicted), expected[-14:])
    first, second = read_film(whole), read_film(target)
    assert first.times == second.times
    pairs = zip(first.pictures, second.pictures, strict=True)
    assert [number for number, pair in enumerate(pairs) if not np.array_equal(*pair)] == []


def test_two_commands_do_not_color_a_film_into_one_file(model: CUNet, tmp_path: Path) -> None:
    source, target = make_film(tmp_path / "old.mp4", sound=False), tmp_path / "new" / "new.mp4"
    first = color_film(source, target, model, OPTIONS)
    next(first)
    with pytest.raises(UserError, match=f"another process is coloring a film into {target}: wait for it"):
        next(color_film(source, target, model, OPTIONS))
    list(first)
    assert len(read_film(target).times) == 24
    finished = Finished(target.parent, fingerprints(model, OPTIONS))
    with pytest.raises(UserError, match="exists: --force overwrites it"):
        next(color_film(source, target, model, OPTIONS, finished))
    target.unlink()
    list(color_film(source, target, model, OPTIONS, finished))
    assert list(color_film(source, target, model, OPTIONS, finished)) == []
    assert (finished.skipped, [path.name for path in target.parent.iterdir()]) == ([target], ["new.mp4"])


def test_pieces_with_other_options_are_not_reused(model: CUNet, tmp_path: Path) -> None:
    source = make_film(tmp_path / "old.mp4", sound=False)
    course = color_film(source, tmp_path / "new.mp4", model, OPTIONS)
    next(course)
    course.close()
    (pieces,) = tmp_path.glob(".new.mp4.pieces")
    before = (pieces / "fingerprint").read_text()
    list(color_film(source, tmp_path / "new.mp4", model, Options(size=32, saturation=0)))
    assert not pieces.exists()
    gray = read_film(tmp_path / "new.mp4").pictures[0]
    assert np.ptp(gray.astype(int), axis=2).mean() < 4
    assert fingerprints(model, OPTIONS)(source) == before
    assert fingerprints(CUNet(width=2), OPTIONS)(source) != before


def test_the_digest_of_the_weights_is_made_once_for_many_films(model: CUNet, tmp_path: Path) -> None:
    source = make_film(tmp_path / "old.mp4", frames=5, sound=False)
    course = color_film(source, tmp_path / "new.mp4", model, OPTIONS, Finished(tmp_path, lambda _: "the digest"))
    next(course)
    assert (tmp_path / ".new.mp4.pieces" / "fingerprint").read_text() == "the digest"
    course.close()


@pytest.mark.usefixtures("small_pieces")
def test_a_killed_command_resumes(tmp_path: Path) -> None:
    """With kill -9, in the middle of the second piece."""
    torch.manual_seed(0)
    save_checkpoint(CUNet(width=2), tmp_path / "cunet.ckpt")
    make_film(tmp_path / "old.mp4", sound=False)
    words = ("old.mp4", "--checkpoint", "cunet.ckpt", "-o", "new.mp4", "--size", "32", "--batch-size", "4")
    small_pieces = partial(set_value, "colorlab.colorize.film:PIECE", 10)
    killed = partial(call_all, small_pieces, partial(at_call, "colorlab.colorize.video:Encoder.write", 15))
    out = f"{tmp_path}_said"
    coloring = CommandProcess(*words, cwd=tmp_path, before=killed, stdout=out, command="colorize")
    assert coloring.wait() == -signal.SIGKILL, coloring.output()
    assert not (tmp_path / "new.mp4").exists()
    again = color_film(tmp_path / "old.mp4", tmp_path / "new.mp4", colorlab.load(tmp_path / "cunet.ckpt"), OPTIONS)
    assert len(list(again)) == 4  # the last 14 frames, at most four at a time
    assert len(read_film(tmp_path / "new.mp4").times) == 24
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cunet.ckpt", "new.mp4", "old.mp4"]
