"""A colored film put together: its pieces, and the original's sound, subtitles, chapters, covers and attachments."""

import heapq
import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer, OutputContainer
from av.stream import Discard, Disposition, Stream

from colorlab.colorize.video import DEFAULT_RATE, video_stream
from colorlab.errors import UserError

CONTAINERS = {".m4v": "mp4", ".mkv": "matroska", ".mov": "mov", ".mp4": "mp4", ".webm": "webm"}
"""FFmpeg's container formats by suffix. AVI is not among them, as it has no time stamps."""

_FILE_METADATA = {"compatible_brands", "encoder", "major_brand", "minor_version"}
"""Metadata about the file, not about the film."""

_CODING_METADATA = re.compile("bps|duration|encoder|number_of_|_statistics_|timecode|vendor_id", re.IGNORECASE)
"""Metadata about how a stream was encoded, or, as the time code, about another stream."""

_COVERS = {"bmp": ("cover.bmp", "image/bmp"), "mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}
"""Cover formats that all containers take, by FFmpeg's names: name and MIME type of the attachment in Matroska."""


def mux_film(source: Path, pieces: list[Path], target: Path, suffix: str) -> None:
    """Concatenate pieces and add the other streams of the original, without encoding anything again.

    Args:
        source: the original film.
        pieces: its colored pieces, in order.
        target: the file to write.
        suffix: of the film's final name, which decides the container.
    """
    with av.open(str(source)) as film, av.open(str(target), "w", format=CONTAINERS[suffix.lower()]) as out:
        kept = {key: value for key, value in film.metadata.items() if key.lower() not in _FILE_METADATA}
        out.metadata.update(kept)
        out.set_chapters(film.chapters())
        with av.open(str(pieces[0])) as first:
            picture = out.add_stream_from_template(first.streams.video[0])
            picture.time_base = first.streams.video[0].time_base
        original = video_stream(film)
        picture.codec_context.framerate = original.average_rate or Fraction(DEFAULT_RATE)
        metadata = _metadata_of(original)
        picture.metadata.update({key: value for key, value in metadata.items() if not _CODING_METADATA.match(key)})
        picture.disposition = original.disposition
        copies = add_copies(film, out, suffix)
        for cover in copies.covers:
            out.mux(cover)
        streams = copies.streams
        video = ((packet, picture) for path in pieces for packet in _packets(path))
        others = ((packet, streams[packet.stream]) for packet in film.demux(*streams) if packet.dts is not None)
        for packet, stream in heapq.merge(video, others if streams else (), key=lambda pair: _seconds(pair[0])):
            packet.stream = stream
            out.mux(packet)


class Copies(NamedTuple):
    """The streams of a film besides its main video, in the new film."""

    streams: dict[Stream, Stream]  # by the original's stream; all packets are to be copied
    covers: list[av.Packet]  # to be written before all other packets
    left_out: list[str]  # names of streams that the new container cannot hold


def add_copies(film: InputContainer, out: OutputContainer, suffix: str) -> Copies:
    """Add streams for the sound, subtitles, covers and attachments of a film to a new one.

    Raises:
        UserError: the new container cannot hold the sound or the subtitles.
    """
    copies, container, original = Copies({}, [], []), CONTAINERS[suffix.lower()], video_stream(film)
    for stream in film.streams:
        if stream.type in ("audio", "subtitle") and stream.codec_context is not None:
            copies.streams[stream] = _add_copy(stream, out, suffix)
        elif stream.type == "attachment" and container == "matroska":
            out.add_stream_from_template(stream)  # the header of the stream holds the attached file
        elif _is_cover(stream) and container in ("matroska", "mp4"):
            copies.covers.extend(_add_cover(stream, out, container))
        elif stream.index != original.index and stream.discard != Discard.all:  # an MP4's chapters are discarded
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
            f"use {own if own in CONTAINERS else '.mkv'}"
        ) from error
    copy.metadata.update(_metadata_of(stream))
    copy.disposition = stream.disposition
    return copy


def _metadata_of(stream: Stream) -> dict[str, str]:
    """Return a stream's metadata. FFmpeg reads the title of an MP4's stream as `name`, but writes only `title`."""
    metadata = dict(stream.metadata)
    return {"title": metadata.pop("name"), **metadata} if "name" in metadata else metadata


def _is_cover(stream: Stream) -> bool:
    """Return whether a stream is a picture attached to the film, rather than to a chapter."""
    flags = stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails)
    return stream.type == "video" and flags == Disposition.attached_pic and _codec_of(stream) in _COVERS


def _codec_of(stream: Stream) -> str:
    """Return FFmpeg's name of a stream's codec; empty if it is unknown."""
    return stream.codec_context.name if stream.codec_context else ""


def _add_cover(stream: Stream, out: OutputContainer, container: str) -> Iterator[av.Packet]:
    """Add a cover; yield its packet, unless the cover is an attachment."""
    with av.open(stream.container.name) as film:  # opened again to read its packet before all others
        (packet, *_) = islice(film.demux(film.streams[stream.index]), 1)
    if container == "matroska":
        name, mime = _COVERS[_codec_of(stream)]
        out.add_attachment(stream.metadata.get("filename", name), mime, bytes(packet))
        return
    packet.stream = out.add_stream_from_template(stream, opaque=True)
    packet.stream.disposition = stream.disposition
    packet.pts = packet.dts = 0
    yield packet


def _name_of(stream: Stream) -> str:
    """Return words by which the owner of a film recognizes a stream."""
    if stream.type == "attachment":
        return stream.name or "an attachment"
    names: dict[str, str] = {"audio": "sound", "subtitle": "subtitles", "video": "another moving picture"}
    name = names.get(stream.type, stream.type)
    if stream.disposition & Disposition.attached_pic:
        name = "a cover"
    return f"{name} ({codec})" if (codec := _codec_of(stream)) else name


def _packets(path: Path) -> Iterator[av.Packet]:
    with av.open(str(path)) as piece:
        yield from (packet for packet in piece.demux(video=0) if packet.dts is not None)


def _seconds(packet: av.Packet) -> Fraction:
    assert packet.dts is not None, "packets without one are not muxed"
    assert packet.time_base is not None
    return packet.dts * packet.time_base
