"""Check zip files, as torch writes checkpoints, against their checksums. Imports nothing heavy."""

import struct
import zipfile
from pathlib import Path

SIGNATURE = b"PK\3\4"
"""What a zip file begins with; torch reads a file that begins otherwise as its format before 1.6."""

MARK = "/.storage_alignment"
"""End of the name of a member in the files of the versions of torch whose directory is known."""

NO_DATE = (1980, 0, 0, 0, 0, 0)
"""The date that torch gives to every member; a program that packs its files again writes a real one."""

HEADER = 46
"""Bytes of a member's entry in the directory, without its name."""

FOLDER = 0x10
"""Attribute of a folder: torch reads nothing for a member that has it, and its tensor holds what the memory held."""


def is_zip(path: Path) -> bool:
    """Return whether torch reads a file as a zip file."""
    with path.open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def damage_of(path: Path) -> str | None:
    """Return what is wrong with a checkpoint that is a zip file; None if nothing is.

    torch's own reader does not compare checksums. This takes about 0.06 s for 100 MB. A file that was written without
    checksums (`torch.serialization.set_crc32_options(False)`) is only checked for its structure.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > path.stat().st_size:
                return "it would unpack to more than the file holds"
            undated = sum(member.date_time == NO_DATE for member in members)
            by_torch = undated > len(members) / 2 and any(member.filename.endswith(MARK) for member in members)
            if by_torch and not _is_directory_sound(path, members, archive.start_dir):
                return "its directory does not match its contents"
            broken = archive.testzip() if any(member.CRC for member in members) else None
    except zipfile.BadZipFile as error:
        return "its end is missing" if "not a zip" in str(error) else str(error)
    except Exception as error:  # zipfile raises EOFError, NotImplementedError, RuntimeError, ValueError, …
        return str(error) or type(error).__name__
    return f"{broken} does not match its checksum" if broken else None


def _is_directory_sound(path: Path, members: list[zipfile.ZipInfo], start: int) -> bool:
    """Compare each member's entry with the header before its contents, and check the records that end the file.

    A later torch may write some members otherwise: what counts is that both places agree, and what torch reads.

    Args:
        path: the file.
        members: the entries of its directory.
        start: where the directory begins, in bytes.
    """
    count = len(members)
    size = sum(HEADER + len(member.orig_filename.encode()) + len(member.extra) for member in members)
    with path.open("rb") as file:
        file.seek(start)
        directory, ending = file.read(size), file.read()
        at = 0
        for member in members:
            file.seek(member.header_offset)
            if directory[at + 6 : at + 16] != file.read(14)[4:]:  # version, flags, compression, time and date
                return False
            if member.file_size and member.external_attr & FOLDER:
                return False
            at += HEADER + len(member.orig_filename.encode()) + len(member.extra)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, *[min(count, 0xFFFF)] * 2, min(size, 2**32 - 1),
                      min(start, 2**32 - 1), 0)  # fmt: skip
    record = struct.pack("<2L4Q", 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, start + size, 1)
    return ending[-22:] == end and (len(ending) == 22 or ending[16:-22] == record + locator)
