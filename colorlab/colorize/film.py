"""Films: colored frame by frame without flicker, in pieces that survive an interruption.

PyAV reads and writes them: unlike torchcodec it copies sound and subtitles without coding them again,
and keeps each frame's own time stamp. Chapters, covers, attached fonts, and what a film says of itself
and of its streams, stay as well, where the new kind of file has a place for them. What does not stay is
named in a line: a second moving picture, and data that is neither heard nor seen, such as a telephone's
motion. A film's colored pieces wait in a folder beside the result until the last one is done; the same
command goes on from there. Only a piece's frames are ever in memory.
"""

import hashlib
import heapq
import io
import os
import re
import shutil
import struct
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from fractions import Fraction
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.container import InputContainer, OutputContainer
from av.stream import Discard, Disposition, Stream
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation
from torch import Tensor

from colorlab.colorize.album import IN_FLIGHT, How, refuse
from colorlab.errors import UserError
from colorlab.files import atomic_path
from colorlab.models.colorizer import Colorizer
from colorlab.models.inference import apply_color, network_input, pixels_of, predict

PIECE = 120
"""Frames of a piece: what an interruption costs at most."""

X264 = {"crf": "18", "preset": "fast", "x264-params": "force-cfr=1"}  # else it would tell the time base as the rate
VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"}
"""Settings of the encoders, at which hardly a difference can be seen."""

RATE = 25
"""Frames a second of a film that does not tell."""


# -- steady color ------------------------------------------------------------------------------------

COARSE, REACH = 4, 5
"""Motion is looked for in L of a size so many times smaller than shown, so many of its pixels far; then refined."""

STILL = 0.02
"""How much worse in L a nearer place may match, for each pixel that it is nearer: where all is alike, nothing moves."""

TRUST = 4.0
"""By how much the L of a followed place may differ before its color is no longer believed."""


class Seen(NamedTuple):
    """What the network was shown of a frame, and the color that it got."""

    lightness: Tensor  # [1, 1, h, w]
    ab: Tensor  # [1, 2, h, w]


class Steadier:
    """Mixes each frame's color with that of the frame before, followed along the motion.

    ab = t · moved ab of the frame before + (1 − t) · predicted ab, with t = steady · exp(−ΔL² / 2σ²):
    where the frame before has nothing alike, as behind a cut, the prediction stands alone.

    Args:
        steady: the share of the frame before, below 1; 0 leaves the predictions as they are.
    """

    def __init__(self, steady: float) -> None:
        self.steady, self.before = steady, None

    def __call__(self, lightness: Tensor, ab: Tensor) -> Tensor:
        """The steady ab of the next frame: L [1, 1, h, w] and its predicted ab [1, 2, h, w]."""
        if self.before is not None and self.steady:
            before = torch.cat(self.before, dim=1)
            moved = _moved(before, _motion(self.before.lightness, lightness))
            difference = lightness - moved[:, :1]
            trust = self.steady * (-(difference**2) / (2 * TRUST**2)).exp()
            ab = torch.lerp(ab, moved[:, 1:], trust)
        self.before = Seen(lightness, ab)
        return ab


def _motion(before: Tensor, now: Tensor) -> Tensor:
    """Where each pixel was in the frame before, by comparing the neighborhoods of all places in reach.

    Args:
        before, now: L, [1, 1, h, w].

    Returns:
        [2, h, w] int64: how many rows up and columns left, less where it came from below or the right.
    """
    old, new = F.avg_pool2d(before, COARSE), F.avg_pool2d(now, COARSE)
    height, width = new.shape[-2:]
    steps = torch.arange(-REACH, REACH + 1, device=new.device)
    places = torch.cartesian_prod(steps, steps)  # [places, 2]
    there = F.pad(old, (REACH,) * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
    cost = (there.reshape(1, -1, height, width) - new).abs_()
    cost = F.avg_pool2d(cost, 5, stride=1, padding=2, count_include_pad=False)
    cost += STILL * places.float().norm(dim=1)[:, None, None]
    motion = places[cost[0].argmin(dim=0)].movedim(-1, 0)
    full = COARSE * motion.repeat_interleave(COARSE, dim=1).repeat_interleave(COARSE, dim=2)
    missing = (0, now.shape[-1] - full.shape[-1], 0, now.shape[-2] - full.shape[-2])
    rough = F.pad(full[None].float(), missing, mode="replicate")[0].long()
    steps = torch.arange(-COARSE // 2, COARSE // 2 + 1, device=new.device)
    near = torch.cartesian_prod(steps, steps)
    near = near[near.float().norm(dim=1).argsort(stable=True)]  # of places that match alike, the first is taken
    cost = torch.cat([(_moved(before, rough + step[:, None, None]) - now).abs() for step in near], dim=1)
    cost = F.avg_pool2d(cost, 9, stride=1, padding=4, count_include_pad=False)
    return rough + near[cost[0].argmin(dim=0)].movedim(-1, 0)


def _moved(before: Tensor, motion: Tensor) -> Tensor:
    """The frame before, [1, C, h, w], each of its pixels where it is now."""
    height, width = before.shape[-2:]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    row = (rows.to(motion.device) + motion[0]).clamp(0, height - 1)
    column = (columns.to(motion.device) + motion[1]).clamp(0, width - 1)
    return before[..., row, column]


# -- the film ----------------------------------------------------------------------------------------

FORMATS = {".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".webm": "webm"}
"""How films are written, by suffix. Not as .avi, which has no time stamps."""


def color_film(source: Path, target: Path, model: Colorizer, how: How) -> Iterator[float]:
    """Color a film; after each few frames, the share of it that is done.

    Raises:
        UserError, OSError, av.FFmpegError: it cannot be read, or the result cannot be written.
    """
    if target.suffix.lower() not in FORMATS:
        raise UserError(f"films are not written as {target.suffix}: use {', '.join(FORMATS)}")
    refuse(target, source, how.force)
    steadier = Steadier(how.steady)
    with av.open(str(source)) as film, _threads() as pool:
        stream = film.streams.best("video")
        if stream is None:
            raise UserError("it holds no moving picture")
        if (hdr := HDR.get(stream.codec_context.color_trc)) is not None:
            raise UserError(f"it is in HDR ({hdr}), and films are colored in standard range: convert it first")
        with av.open(io.BytesIO(), "w", format=FORMATS[target.suffix.lower()]) as trial:
            left_out = _add_copies(film, trial, target.suffix).left_out  # hours later would be too late
        if left_out:
            print(f"colorlab: {source}: left out of {target}: {', '.join(left_out)}.", file=sys.stderr)
        pieces = Pieces(target.with_name(f".{target.name}.pieces"), _fingerprint(source, model, how))
        stream.thread_type = "AUTO"
        seconds = film.duration / av.time_base if film.duration else 0
        frames = _timed(film.decode(stream), stream)
        for number in count():
            first = next(frames, None)
            if first is None:
                break
            piece = chain([first], islice(frames, PIECE - 1))
            if (held := pieces.held(number)) is not None:
                steadier.before = held
                deque(piece, maxlen=0)  # decoded and left: seeking is exact in few films
                continue
            with pieces.writing(number) as part, Encoder(part, stream, target.suffix.lower()) as encoder:
                while batch := list(islice(piece, _frames_at_once(first, how))):
                    for frame, rgb in zip(batch, _color(batch, model, how, steadier, pool), strict=True):
                        encoder.write(rgb, frame)
                    yield min(1.0, (batch[-1].time or 0) / seconds) if seconds else 0.0
                pieces.remember(number, steadier.before)
    if not number:
        pieces.remove()
        raise UserError("it holds no moving picture")
    with atomic_path(target) as part:
        _join(source, pieces.paths(number), part, target.suffix)
    pieces.remove()


HDR = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
"""Transfers of films that are brighter than white: neither are their values those that the network knows,
nor are 8 bits enough for them."""


def _timed(frames: Iterator[av.VideoFrame], stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """The frames, each with a time: one that has none, as in a bare stream, comes when that before it ends."""
    usual, end = 1 / ((stream.average_rate or RATE) * stream.time_base), Fraction(0)
    for frame in frames:
        begin = end if frame.pts is None else Fraction(frame.pts)
        frame.pts, end = round(begin), begin + (frame.duration or usual)
        yield frame


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(os.cpu_count(), "frame", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield pool


def _frames_at_once(frame: av.VideoFrame, how: How) -> int:
    return max(1, min(how.batch_size, IN_FLIGHT // (frame.width * frame.height)))


def _color(
    batch: list[av.VideoFrame], model: Colorizer, how: How, steadier: Steadier, pool: ThreadPoolExecutor
) -> Iterator[np.ndarray]:
    """The frames of a batch in color, as they lie in the film: [H, W, 3] uint8 each."""
    device, pose = next(model.parameters()).device, Pose.of(batch[0])
    pixels = list(pool.map(lambda frame: pixels_of(pose.upright(_rgb_of(frame)))[0], batch))
    shown = list(pool.map(lambda each: network_input(each, how.size, device), pixels))
    predicted = predict(model, torch.cat(shown), how.saturation, how.temperature).split(1)
    steady = [steadier(lightness, ab) for lightness, ab in zip(shown, predicted, strict=True)]

    def finish(each: Tensor, lightness: Tensor, ab: Tensor) -> np.ndarray:
        colored = apply_color(each, lightness, ab, how.guided)
        if how.side_by_side:
            colored = torch.cat([apply_color(each, lightness, torch.zeros_like(ab)), colored], dim=-1)
        return np.ascontiguousarray(pose.lying(colored[0].permute(1, 2, 0).numpy()))

    return pool.map(finish, pixels, shown, steady)


def _rgb_of(frame: av.VideoFrame) -> np.ndarray:
    return frame.reformat(format="rgb24", src_colorspace=_colorspace(frame), interpolation=EXACT).to_ndarray()


EXACT = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT
)
"""How frames become RGB: without these, FFmpeg rounds down, and all is half a level too dark."""


class Pose(NamedTuple):
    """How a film's frames lie, which players turn as its display matrix says: the network sees them upright."""

    turned: bool  # rows are columns
    from_below: bool  # after that
    from_the_right: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Pose":
        """As (x, y) of the frame goes to (a·x + c·y, b·x + d·y) of the screen."""
        a, b, _, c, d = (_display_matrix(frame) or (1, 0, 0, 0, 1))[:5]
        turned = abs(b) > abs(a)
        return cls(turned, (b if turned else d) < 0, (c if turned else a) < 0)

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """A frame [H, W, 3] as a player shows it."""
        return self._flipped(picture.swapaxes(0, 1) if self.turned else picture)

    def lying(self, picture: np.ndarray) -> np.ndarray:
        """The way back."""
        return self._flipped(picture).swapaxes(0, 1) if self.turned else self._flipped(picture)

    def _flipped(self, picture: np.ndarray) -> np.ndarray:
        return picture[:: -1 if self.from_below else 1, :: -1 if self.from_the_right else 1]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """FFmpeg's nine numbers, if the film has them."""
    found = frame.side_data.get("DISPLAYMATRIX")
    return None if found is None else struct.unpack("9i", bytes(found))


def _colorspace(frame: av.VideoFrame) -> Colorspace:
    """Which YUV a film uses; where it does not say, large ones use that of high definition."""
    if frame.colorspace == UNSPECIFIED and frame.height >= 720:
        return Colorspace.ITU709
    return Colorspace(frame.colorspace) if frame.colorspace in KNOWN else Colorspace.ITU601


UNSPECIFIED = 2
"""FFmpeg's number for a colorspace that is not told."""

KNOWN = {each.value for each in Colorspace}
"""The colorspaces that are converted; FFmpeg has two numbers for that of BT.601, and the other one is not here."""


class Encoder:
    """Writes the frames of one piece, each with its own time stamp.

    No frame refers to a later one, so that pieces can be put one behind the other.

    Args:
        path: the piece.
        like: the stream whose rate, time base and shape of pixels it takes over.
        suffix: of the whole film's name, which decides the codec.
    """

    def __init__(self, path: Path, like: av.VideoStream, suffix: str) -> None:
        self._like, self._suffix = like, suffix
        ticks = str(like.time_base.denominator)
        timing = {"video_track_timescale": ticks, "movie_timescale": ticks}  # so that no time stamp is rounded
        self._container = av.open(str(path), "w", format="mp4", options=timing)
        self._stream: av.VideoStream | None = None

    def __enter__(self) -> "Encoder":
        return self

    def write(self, rgb: np.ndarray, at: av.VideoFrame) -> None:
        """Write [H, W, 3] uint8 in the pose and at the time of a frame."""
        if self._stream is None:
            self._stream = self._open(rgb.shape[1], rgb.shape[0], at)
        colored = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=_colorspace(at)
        )
        colored.pts, colored.time_base = at.pts, at.time_base
        self._container.mux(self._stream.encode(colored))

    def _open(self, width: int, height: int, first: av.VideoFrame) -> av.VideoStream:
        codec, options = ("libvpx-vp9", VP9) if self._suffix == ".webm" else ("libx264", X264)
        stream = self._container.add_stream(codec, rate=self._like.average_rate or RATE, options=options)
        context = stream.codec_context
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.time_base = context.time_base = self._like.time_base
        context.max_b_frames = 0
        context.colorspace, context.color_range = _colorspace(first), ColorRange.MPEG
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc  # nothing converts these
        if self._like.sample_aspect_ratio:
            context.sample_aspect_ratio = self._like.sample_aspect_ratio
        stream.set_display_matrix(_display_matrix(first))
        return stream

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()


class Pieces:
    """The folder of a film's pieces: what is in it is whole, and of this very film and way to color it.

    Args:
        folder: where; pieces of anything else in it are dropped.
        fingerprint: what the pieces depend on.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        mark = folder / "fingerprint"
        if not (mark.is_file() and mark.read_text() == fingerprint):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            mark.write_text(fingerprint)

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.mp4"

    def paths(self, count: int) -> list[Path]:
        return list(map(self.path, range(count)))

    def held(self, number: int) -> Seen | None:
        """The last that was seen in a piece; None if the piece is not there."""
        if not self.path(number).is_file():
            return None
        return Seen(*torch.load(self.path(number).with_suffix(".pt"), weights_only=True))

    def writing(self, number: int) -> AbstractContextManager[Path]:
        return atomic_path(self.path(number))

    def remember(self, number: int, seen: Seen) -> None:
        """Keep the last that was seen, before the piece itself appears."""
        buffer = io.BytesIO()  # straight to a file, torch hides why it cannot be written
        torch.save([each.cpu() for each in seen], buffer)
        self.path(number).with_suffix(".pt").write_bytes(buffer.getbuffer())

    def remove(self) -> None:
        shutil.rmtree(self.folder)


def _fingerprint(source: Path, model: Colorizer, how: How) -> str:
    """What the pieces of a film depend on."""
    digest, status = hashlib.blake2b(digest_size=16), source.stat()
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.cpu().flatten().view(torch.uint8).numpy().tobytes())
    way = (how.size, how.guided, how.saturation, how.temperature, how.side_by_side, how.steady)
    digest.update(repr((str(source.resolve()), status.st_size, status.st_mtime_ns, way)).encode())
    return digest.hexdigest()


def _join(source: Path, pieces: list[Path], target: Path, suffix: str) -> None:
    """Put the pieces one behind the other, with what else is in the film, none of it coded again."""
    with av.open(str(source)) as film, av.open(str(target), "w", format=FORMATS[suffix.lower()]) as out:
        out.metadata.update({key: value for key, value in film.metadata.items() if key.lower() not in OF_THE_FILE})
        out.set_chapters(film.chapters())
        with av.open(str(pieces[0])) as first:
            picture = out.add_stream_from_template(first.streams.video[0])
            picture.time_base = first.streams.video[0].time_base
        true = film.streams.best("video")
        picture.codec_context.framerate = true.average_rate or RATE
        picture.metadata.update({key: word for key, word in _told_of(true).items() if not OF_THE_CODING.match(key)})
        picture.disposition = true.disposition
        copies = _add_copies(film, out, suffix)
        for cover in copies.covers:
            out.mux(cover)
        moving = ((packet, picture) for path in pieces for packet in _packets(path))
        streams = copies.streams
        beside = ((packet, streams[packet.stream]) for packet in film.demux(*streams) if packet.dts is not None)
        for packet, stream in heapq.merge(moving, beside if streams else (), key=lambda pair: _when(pair[0])):
            packet.stream = stream
            out.mux(packet)


OF_THE_FILE = {"compatible_brands", "encoder", "major_brand", "minor_version"}
"""What a film's metadata say of the file and not of the film."""

OF_THE_CODING = re.compile("bps|duration|encoder|number_of_|_statistics_|timecode|vendor_id", re.IGNORECASE)
"""What a stream's metadata say of how it was coded, or, as a time code, of another stream."""


def _told_of(stream: Stream) -> dict[str, str]:
    """A stream's metadata. FFmpeg calls a title in an MP4 a name when it reads it, and takes it as a title alone."""
    told = dict(stream.metadata)
    return {"title": told.pop("name"), **told} if "name" in told else told


class Copies(NamedTuple):
    """What is beside the colored picture of a film, on its way into the new one."""

    streams: dict[Stream, Stream]  # the film's and the new one's, of which all packets are to be written
    covers: list[av.Packet]  # to be written before all else
    left_out: list[str]  # what the new one has no place for


def _add_copies(film: InputContainer, out: OutputContainer, suffix: str) -> Copies:
    """Make places for the sound, the subtitles, the covers and the attachments of a film.

    Raises:
        UserError: this kind of file takes its sound or its subtitles not.
    """
    copies, kind, true = Copies({}, [], []), FORMATS[suffix.lower()], film.streams.best("video")
    for stream in film.streams:
        if stream.type in ("audio", "subtitle") and stream.codec_context is not None:
            copies.streams[stream] = _add_copy(stream, out, suffix)
        elif stream.type == "attachment" and kind == "matroska":
            out.add_stream_from_template(stream)  # what is attached is in the stream's head
        elif _is_cover(stream) and kind in ("matroska", "mp4"):
            copies.covers.extend(_add_cover(stream, out, kind))
        elif stream.index != true.index and stream.discard != Discard.all:  # which is how an MP4's chapters come
            copies.left_out.append(_name_of(stream))
    return copies


def _add_copy(stream: Stream, out: OutputContainer, suffix: str) -> Stream:
    try:
        copy = out.add_stream_from_template(stream)
    except ValueError as error:
        what = "sound" if stream.type == "audio" else "subtitles"
        own = Path(stream.container.name).suffix.lower()
        raise UserError(
            f"its {what} ({stream.codec_context.name}) cannot be copied into a {suffix}: "
            f"use {own if own in FORMATS else '.mkv'}"
        ) from error
    copy.metadata.update(_told_of(stream))
    copy.disposition = stream.disposition
    return copy


COVERS = {"bmp": ("cover.bmp", "image/bmp"), "mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
"""The covers that every kind of film takes, by FFmpeg's names: as what a Matroska film attaches them."""


def _is_cover(stream: Stream) -> bool:
    """Whether it is a picture that goes with the film; not one that goes with a chapter."""
    told = stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
    return stream.type == "video" and told == Disposition.attached_pic and _coding_of(stream) in COVERS


def _coding_of(stream: Stream) -> str:
    """What FFmpeg calls it; nothing if it does not know it."""
    return stream.codec_context.name if stream.codec_context else ""


def _add_cover(stream: Stream, out: OutputContainer, kind: str) -> Iterator[av.Packet]:
    """Make a place for a cover; the packet that is to be written into it, unless it is an attachment."""
    with av.open(stream.container.name) as film:  # again, as it comes before all else
        (packet, *_) = islice(film.demux(film.streams[stream.index]), 1)
    if kind == "matroska":
        name, mime = COVERS[_coding_of(stream)]
        out.add_attachment(stream.metadata.get("filename", name), mime, bytes(packet))
        return
    packet.stream = out.add_stream_from_template(stream, opaque=True)
    packet.stream.disposition = stream.disposition
    packet.pts = packet.dts = 0
    yield packet


def _name_of(stream: Stream) -> str:
    """As what somebody knows a stream of a film."""
    if stream.type == "attachment":
        return stream.name or "an attachment"
    what = {"audio": "sound", "subtitle": "subtitles", "video": "another moving picture"}.get(stream.type, stream.type)
    if stream.disposition & Disposition.attached_pic:
        what = "a cover"
    return f"{what} ({coding})" if (coding := _coding_of(stream)) else what


def _packets(path: Path) -> Iterator[av.Packet]:
    with av.open(str(path)) as piece:
        yield from (packet for packet in piece.demux(video=0) if packet.dts is not None)


def _when(packet: av.Packet) -> Fraction:
    return packet.dts * packet.time_base
