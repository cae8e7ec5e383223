"""Streams and metadata of films besides the picture."""

from pathlib import Path

import pytest

from colorlab.colorize.film import color_film
from colorlab.colorize.jobs import Options
from colorlab.models import CUNet
from support.films import make_film, make_rich_film

av = pytest.importorskip("av")
Colorspace, Disposition = av.video.reformatter.Colorspace, av.stream.Disposition

OPTIONS = Options(size=32, batch_size=4)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_subtitles_chapters_and_metadata_are_kept(model: CUNet, tmp_path: Path, suffix: str) -> None:
    def content(path: Path) -> dict[str, object]:
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
    list(color_film(source, target := tmp_path / f"new{suffix}", model, OPTIONS))
    before, after = content(source), content(target)
    assert len(before["words"]) == 2
    assert before["languages"] == ("fra", "deu")
    assert after == before


@pytest.mark.parametrize("old", [".mkv", ".mp4"])
@pytest.mark.parametrize("new", [".mkv", ".mov", ".mp4", ".webm"])
def test_other_streams_are_kept_or_reported(
    model: CUNet, tmp_path: Path, old: str, new: str, capsys: pytest.CaptureFixture
) -> None:
    source = make_rich_film(tmp_path / f"old{old}")
    list(color_film(source, target := tmp_path / f"new{new}", model, OPTIONS))
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
