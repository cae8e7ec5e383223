"""A checksum in the metadata of a safetensors file, a format that has none. Imports nothing heavy."""

import zlib
from collections.abc import Mapping
from pathlib import Path

KEY = "colorlab_crc32"
BLANK = "0" * 8
"""What stands in place of the checksum while it is computed."""

CHUNK = 2**22


def with_checksum(content: bytes) -> bytes:
    """Put the CRC-32 of a file, whose metadata has `KEY: BLANK`, in place of the blank."""
    blank, checksum = (f'"{KEY}":"{value}"'.encode() for value in (BLANK, f"{zlib.crc32(content):08x}"))
    return content.replace(blank, checksum, 1)


def matches_checksum(path: Path, metadata: Mapping[str, str]) -> bool:
    """Return whether a file's content is that of its checksum; true for a file without one.

    Args:
        path: the file.
        metadata: its metadata, as safetensors read it.
    """
    if KEY not in metadata:
        return True
    blank, checksum = (f'"{KEY}":"{value}"'.encode() for value in (BLANK, metadata[KEY]))
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little")).replace(checksum, blank, 1)
        found = zlib.crc32(length + header)
        while chunk := file.read(CHUNK):
            found = zlib.crc32(chunk, found)
    return f"{found:08x}" == metadata[KEY]
