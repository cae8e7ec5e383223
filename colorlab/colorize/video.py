"""Video frames: decoded to upright RGB with time stamps, and encoded again."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorRange, Colorspace, ColorTrc, Interpolation

from colorlab.errors import UserError

DEFAULT_RATE = 25
"""Frames per second of a film that does not state its rate."""

X264 = {"crf": "18", "preset": "fast", "x264-params": "force-cfr=1"}  # otherwise it writes the time base as the rate
VP9 = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"}
"""Encoder settings at which differences are hardly visible."""

EXACT = (
    Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT
)
"""Flags for converting frames to RGB. Without them FFmpeg rounds down, and frames are half a level too dark."""

HDR = {ColorTrc.SMPTE2084: "PQ", ColorTrc.ARIB_STD_B67: "HLG"}
"""Transfer functions of high dynamic range: networks are not trained on such values, and 8 bits do not hold them."""

UNSPECIFIED = 2
"""FFmpeg's number for an unspecified colorspace."""

CONVERTIBLE = {each.value for each in Colorspace}
"""Colorspaces with a conversion. FFmpeg has a second number for that of BT.601, which is not among them."""


def video_stream(film: InputContainer) -> av.VideoStream:
    """Return the main video stream of a film.

    Raises:
        UserError: the film has no video stream.
    """
    stream = film.streams.best("video")
    if not isinstance(stream, av.VideoStream):
        raise UserError("it holds no moving picture")
    return stream


def refuse_hdr(stream: av.VideoStream) -> None:
    """Raise UserError if a film has high dynamic range."""
    if (hdr := HDR.get(ColorTrc(stream.codec_context.color_trc))) is not None:
        raise UserError(f"it is in HDR ({hdr}), and films are colored in standard range: convert it first")


def time_base_of(stream: av.VideoStream) -> Fraction:
    """Return the unit of a stream's time stamps in seconds."""
    return stream.time_base or Fraction(1, av.time_base)


def decoded(film: InputContainer, stream: av.VideoStream) -> Iterator[av.VideoFrame]:
    """Decode frames and give each a time stamp; without one, as in a raw stream, it follows the frame before."""
    duration = 1 / ((stream.average_rate or DEFAULT_RATE) * time_base_of(stream))
    end = Fraction(0)
    for frame in film.decode(stream):
        start = end if frame.pts is None else Fraction(frame.pts)
        frame.pts, end = round(start), start + (frame.duration or duration)
        yield frame


def rgb_of(frame: av.VideoFrame) -> np.ndarray:
    """Convert a frame to [H, W, 3] uint8, as stored: not turned upright."""
    return frame.reformat(format="rgb24", src_colorspace=colorspace_of(frame), interpolation=EXACT).to_ndarray()


def colorspace_of(frame: av.VideoFrame) -> Colorspace:
    """Return the YUV colorspace of a frame; if unspecified, BT.709 from 720 rows on and BT.601 below."""
    if frame.colorspace == UNSPECIFIED and frame.height >= 720:
        return Colorspace.ITU709
    return Colorspace(frame.colorspace) if frame.colorspace in CONVERTIBLE else Colorspace.ITU601


class Orientation(NamedTuple):
    """How a film's stored frames are turned and mirrored for display: transposed first, then flipped."""

    transposed: bool
    flipped_rows: bool
    flipped_columns: bool

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """Read the display matrix, which maps (x, y) of the frame to (a·x + c·y, b·x + d·y) of the screen."""
        a, b, _, c, d = (_display_matrix(frame) or (1, 0, 0, 0, 1))[:5]
        transposed = abs(b) > abs(a)
        return cls(transposed, (b if transposed else d) < 0, (c if transposed else a) < 0)

    def upright(self, picture: np.ndarray) -> np.ndarray:
        """Turn a stored frame [H, W, 3] as a player shows it."""
        return self._flipped(picture.swapaxes(0, 1) if self.transposed else picture)

    def stored(self, picture: np.ndarray) -> np.ndarray:
        """Turn an upright frame back to how it is stored."""
        return self._flipped(picture).swapaxes(0, 1) if self.transposed else self._flipped(picture)

    def _flipped(self, picture: np.ndarray) -> np.ndarray:
        return picture[:: -1 if self.flipped_rows else 1, :: -1 if self.flipped_columns else 1]


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
    """Return the nine numbers of FFmpeg's display matrix, if the frame has one."""
    if "DISPLAYMATRIX" not in frame.side_data:
        return None
    matrix = frame.side_data["DISPLAYMATRIX"]  # type: ignore[typeddict-item]  # PyAV's types know motion vectors alone
    return struct.unpack("9i", bytes(matrix))


class Encoder:
    """Encodes frames into a file, each with its own time stamp.

    No frame refers to a later one, so that files can be concatenated.

    Args:
        path: the file, an MP4.
        original: the stream whose frame rate, time base and pixel aspect ratio are kept.
        suffix: of the film's name, which decides the codec.
    """

    def __init__(self, path: Path, original: av.VideoStream, suffix: str) -> None:
        self._original, self._suffix = original, suffix
        ticks = str(time_base_of(original).denominator)
        timing = {"video_track_timescale": ticks, "movie_timescale": ticks}  # no time stamp is rounded
        self._container = av.open(str(path), "w", format="mp4", options=timing)
        self._stream: av.VideoStream | None = None

    def __enter__(self) -> "Encoder":
        return self

    def write(self, rgb: np.ndarray, original: av.VideoFrame) -> None:
        """Encode [H, W, 3] uint8 with the time stamp, colorspace and display matrix of the original frame."""
        if self._stream is None:
            self._stream = self._open(rgb.shape[1], rgb.shape[0], original)
        colored = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=colorspace_of(original)
        )
        colored.pts, colored.time_base = original.pts, original.time_base
        self._container.mux(self._stream.encode(colored))

    def _open(self, width: int, height: int, first: av.VideoFrame) -> av.VideoStream:
        codec, options = ("libvpx-vp9", VP9) if self._suffix == ".webm" else ("libx264", X264)
        stream = self._container.add_stream(codec, rate=self._original.average_rate or DEFAULT_RATE, options=options)
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv444p" if width % 2 or height % 2 else "yuv420p"
        stream.time_base = context.time_base = time_base_of(self._original)
        context.max_b_frames = 0
        context.colorspace, context.color_range = colorspace_of(first), ColorRange.MPEG
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc  # not converted
        if self._original.sample_aspect_ratio:
            context.sample_aspect_ratio = self._original.sample_aspect_ratio
        stream.set_display_matrix(_display_matrix(first))
        return stream

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None and self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()
