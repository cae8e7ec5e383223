"""Where shards are stored: a folder, or a bucket of an object store with copies on the local disk.

Buckets are reached through obstore: one package for S3 and compatible stores, Google's and Azure's,
without dependencies. (s3fs and boto3 bring a dozen packages and hold back python-dateutil.) Endpoint and
credentials come from the environment, AWS_ENDPOINT_URL and the like, which no run records.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from colorlab.data import object_store_access
from colorlab.errors import UserError
from colorlab.files import atomic_path


class ShardFolder:
    """Shards in a folder, read in place."""

    def __init__(self, root: str) -> None:
        self.root = Path(root).expanduser()
        self.version = ""  # as in ShardBucket, unused here

    def __str__(self) -> str:
        return str(self.root)

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in bytes, by its name."""
        return {file.name: file.stat().st_size for file in self.root.glob("*") if file.is_file()}

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        return (self.root / name).read_bytes()

    def local(self, name: str, size: int) -> Path:
        """Return the path of a shard.

        Raises:
            UserError: it is gone.
        """
        if not (self.root / name).is_file():
            raise UserError(f"{self.root / name} is missing: it was there when the run started.")
        return self.root / name

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Path]:
        """Yield a path to write a file to; the file gets its name when the block succeeds.

        Raises:
            UserError: the folder cannot be written to.
        """
        try:
            with atomic_path(self.root / name) as part:
                yield part
        except OSError as error:
            place = Path(error.filename or self.root)
            if not (place.is_relative_to(self.root) or self.root.is_relative_to(place)):
                raise  # a file that is being packed cannot be read
            raise UserError(f"{self.root} cannot be written to ({error.strerror}).") from error

    def delete(self, name: str) -> None:
        """Delete a file."""
        (self.root / name).unlink()


class ShardBucket:
    """Shards below the URL of an object store, copied to the local disk when they are read.

    The copies of all buckets share a folder in the user's cache, which all processes of a machine use.
    They take at most `limit` bytes, downloads in progress included; the least recently used copies are
    deleted to make room.

    Args:
        url: s3://bucket/folder, or another URL that obstore supports.
        limit: bytes.
    """

    def __init__(self, url: str, limit: int) -> None:
        self.url, self.limit = url.rstrip("/"), limit
        self.copies = user_cache_path("colorlab") / "shards"
        self.version = ""  # prefix of the copies' names, so that copies of an older build are not used

    def __str__(self) -> str:
        return self.url

    def sizes(self) -> dict[str, int]:
        """Return the size of each file in bytes, by its name."""
        return json.loads(self._access("sizes"))

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        with tempfile.NamedTemporaryFile() as file:
            self._access("get", name, file.name)
            return Path(file.name).read_bytes()

    def local(self, name: str, size: int) -> Path:
        """Return the path of a shard's copy, and download it first if needed.

        Another process may delete the copy at any time; the caller then tries again.

        Raises:
            UserError: the download failed.
        """
        copy = self.copies / f"{self.version}{name}"
        if _size(copy) != size:  # it is missing, or cut off
            self._download(name, size, copy)
        with contextlib.suppress(FileNotFoundError):
            os.utime(copy)  # marks it as recently used
        return copy

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Path]:
        """Yield a path to write a file to; it is uploaded when the block succeeds."""
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / name
            self._access("put", name, str(Path(folder) / name))

    def delete(self, name: str) -> None:
        """Delete a file."""
        self._access("delete", name)

    def _access(self, action: str, *arguments: str) -> str:
        command = [sys.executable, "-P", object_store_access.__file__, action, self.url, *arguments]
        done = subprocess.run(command, text=True, capture_output=True)
        if done.returncode != 0:
            raise UserError(f"{'/'.join([self.url, *arguments[:1]])}: {done.stderr.strip()}")
        return done.stdout

    def _download(self, name: str, size: int, copy: Path) -> None:
        """Copy a shard to the local disk; if another process is doing so, wait for it."""
        self.copies.mkdir(parents=True, exist_ok=True)
        with self._lock_of(copy):
            if _size(copy) == size:
                return
            with atomic_path(copy) as part:
                with FileLock(self.copies / "room.lock"):
                    self._make_room(size)
                    part.touch()
                    os.truncate(part, size)  # counts in full from now on
                self._access("get", name, str(part))
                if part.stat().st_size != size:
                    raise UserError(f"{self}/{name} has {part.stat().st_size} bytes in place of {size}.")

    def _lock_of(self, copy: Path) -> FileLock:
        """Return the lock for downloading a copy; all shards share 64 lock files."""
        return FileLock(self.copies / f"{zlib.crc32(copy.name.encode()) % 64:02d}.lock")

    def _make_room(self, size: int) -> None:
        """Delete the oldest copies until `size` more bytes fit; wait while downloads in progress take the space."""
        while True:
            for part in self.copies.glob("*.part"):
                with contextlib.suppress(Timeout), self._lock_of(part.with_suffix("")).acquire(blocking=False):
                    part.unlink(missing_ok=True)  # nobody holds its lock: its process was killed
            complete = {file: file.stat() for file in self.copies.glob("*.tar")}
            used = sum(stat.st_size for stat in complete.values()) + sum(map(_size, self.copies.glob("*.part")))
            for file in sorted(complete, key=lambda file: complete[file].st_mtime_ns):
                if used + size <= self.limit:
                    return
                file.unlink()
                used -= complete[file].st_size
            if used + size <= self.limit:
                return
            time.sleep(0.05)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # the download has just finished
        return 0


def storage_at(root: str, limit: int) -> ShardFolder | ShardBucket:
    """Return the storage at a folder or at the URL of a bucket.

    Args:
        root: the folder or the URL.
        limit: bytes that local copies of the bucket's shards may take.
    """
    return ShardBucket(root, limit) if re.match(r"\w[\w+.-]+://", root) else ShardFolder(root)
