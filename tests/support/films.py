"""Films made for tests, and read back."""

import io
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from colorlab.data.splits import SAMPLES

av = pytest.importorskip("av")
Colorspace, Disposition = av.video.reformatter.Colorspace, av.stream.Disposition

SIZE = (160, 96)
TICK = Fraction(1, 12_800)

CODECS = {
    ".avi": ("mpeg4", "libmp3lame", None), ".mkv": ("mpeg4", "aac", "subrip"), ".mp4": ("mpeg4", "aac", "mov_text"),
    ".webm": ("libvpx-vp9", "libopus", "webvtt"),
}  # fmt: skip
"""Codecs of video, sound and subtitles by suffix."""

MATRICES = {1: Colorspace.ITU709, 6: Colorspace.ITU601, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020}
"""Colorspaces by FFmpeg's numbers."""


def make_film(
    path: Path, frames: int = 24, pose: tuple = (), sound: bool = True, subtitles: bool = False, late: int = 100
) -> Path:
    """Make a film that pans over a photograph, with a tone; one frame in three is late by 1x, the next by 2x ticks."""
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
    """The content of a film."""

    times: list[Fraction]
    pictures: list[np.ndarray]  # upright
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


def make_rich_film(path: Path) -> Path:
    """Make a film with a cover, chapters, a second video stream and, in Matroska, a font."""
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


def make_marked_film(path: Path, primaries: int, transfer: int, matrix: int) -> Path:
    """Make a film of one color with tags for primaries, transfer function and matrix."""
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
