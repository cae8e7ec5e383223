"""A file of records of equal length, each with a checksum, that processes read while others replace it."""

import mmap
import os
import weakref
import zlib
from pathlib import Path

import numpy as np

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
except ImportError:  # on Windows, where an open file cannot be removed anyway
    flock = None  # type: ignore[assignment]

EMPTY = 0
"""The state of a record that was not written."""


class RecordFile:
    """Records in a file; each is compared with its checksum when it is first read by a process or those it forks.

        records   [N, length] uint8
        states    [N] uint8, what each record holds
        sums      [N] uint32, CRC-32 of each record
        digest    uint32, CRC-32 of states and sums

    It is read by position and not mapped into memory, since a failing disk ends a process that reads mapped memory.
    A shared lock tells others that the file is in use (`is_in_use`), where the file system has locks.

    Args:
        path: the file.
        count: N.
        length: of a record, in bytes.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is damaged: it has another size, or another digest.
    """

    def __init__(self, path: Path, count: int, length: int) -> None:
        self.path, self.length = path, length
        self._open()
        table = self._read(count * length, 5 * count + 4)
        if table is None or os.fstat(self._descriptor).st_size != size_of(count, length):
            raise ValueError("it has another size")
        if zlib.crc32(table[:-4].data) != int.from_bytes(table[-4:].tobytes(), "little"):
            raise ValueError("its states or checksums have changed")
        self.states, self._sums = table[:count], np.frombuffer(table[count:-4].tobytes(), dtype="<u4")
        self._sound = mmap.mmap(-1, max(count, 1))  # whether each record was compared; forked workers share it

    def _open(self) -> None:
        binary = getattr(os, "O_BINARY", 0)
        try:
            self._descriptor, self._writable = os.open(self.path, os.O_RDWR | binary), True
        except PermissionError:
            self._descriptor, self._writable = os.open(self.path, os.O_RDONLY | binary), False
        weakref.finalize(self, os.close, self._descriptor)
        _lock(self._descriptor, exclusive=False)

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key != "_sound"}

    def __setstate__(self, state: dict) -> None:  # in a worker that is not forked
        self.__dict__.update(state, _sound=mmap.mmap(-1, max(len(state["states"]), 1)))
        self._open()

    def read(self, row: int) -> np.ndarray | None:
        """Return a record, [length] uint8; None if it cannot be read or does not match its checksum."""
        record = self._read(row * self.length, self.length)
        if record is None or not (self._sound[row] or zlib.crc32(record.data) == self._sums[row]):
            return None
        self._sound[row] = 1
        return record

    def restore(self, row: int, record: bytes) -> None:
        """Write a damaged record again, if this is what it held and the file can be written."""
        if self._writable and zlib.crc32(record) == self._sums[row]:
            _write(self.path, row * self.length, record)

    def _read(self, start: int, length: int) -> np.ndarray | None:
        content = np.empty(length, dtype=np.uint8)
        try:
            if hasattr(os, "preadv"):  # forked processes share the descriptor and its position
                count = os.preadv(self._descriptor, [content.data], start)
            else:
                with self.path.open("rb", buffering=0) as file:
                    file.seek(start)
                    count = file.readinto(content.data)
        except OSError:
            return None
        return content if count == length else None


def size_of(count: int, length: int) -> int:
    """Return the size in bytes of a file of `count` records of `length` bytes."""
    return count * (length + 5) + 4


def reserve(path: Path, count: int, length: int) -> None:
    """Create a file of empty records, and take its space on the disk now."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size_of(count, length))
        file.truncate(size_of(count, length))


def write_record(path: Path, count: int, row: int, state: int, record: bytes) -> None:
    """Write one of the records of a reserved file; several processes may write others at once."""
    states = count * len(record)
    _write(path, row * len(record), record)
    _write(path, states + count + 4 * row, zlib.crc32(record).to_bytes(4, "little"))
    _write(path, states + row, bytes([state]))


def finish(path: Path, count: int, length: int) -> None:
    """Write the digest of a file, all of whose records are written."""
    with path.open("rb") as file:
        file.seek(count * length)
        digest = zlib.crc32(file.read(5 * count))
    _write(path, size_of(count, length) - 4, digest.to_bytes(4, "little"))


def _write(path: Path, start: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content)


def is_in_use(path: Path) -> bool:
    """Return whether a process has the file open as a `RecordFile`."""
    if flock is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _lock(descriptor, exclusive=True)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, exclusive: bool) -> bool:
    """Lock a file without waiting; return False if another process holds its lock."""
    if flock is None:
        return True
    try:
        flock(descriptor, (LOCK_EX if exclusive else LOCK_SH) | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True
