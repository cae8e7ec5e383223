"""Where shards lie: a folder, or a bucket of an object store whose shards are copied to the local disk.

Buckets are reached through obstore: one package for S3 and all that speaks it, Google's and Azure's,
with nothing below it but a compiled library. (s3fs and boto3 bring a dozen packages and hold back
python-dateutil.) Endpoint and credentials are the environment's, AWS_ENDPOINT_URL and the like, where
no run records them.
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


class Folder:
    """Shards in a folder, read where they lie."""

    def __init__(self, root: str) -> None:
        self.root = Path(root).expanduser()

    def __str__(self) -> str:
        return str(self.root)

    def sizes(self) -> dict[str, int]:
        """What lies there: {name: bytes}."""
        return {file.name: file.stat().st_size for file in self.root.glob("*") if file.is_file()}

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def local(self, name: str, size: int) -> Path:
        """The file called `name`."""
        if not (self.root / name).is_file():
            raise UserError(f"{self.root / name} has gone: it was there before.")
        return self.root / name

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Path]:
        """A file to write; under its name it appears when the block ends well.

        Raises:
            UserError: nothing can be written here.
        """
        try:
            with atomic_path(self.root / name) as part:
                yield part
        except OSError as error:
            place = Path(error.filename or self.root)
            if not (place.is_relative_to(self.root) or self.root.is_relative_to(place)):
                raise  # it is what is packed that cannot be read
            raise UserError(f"{self.root} cannot be written to ({error.strerror}).") from error

    def delete(self, name: str) -> None:
        (self.root / name).unlink()


class Bucket:
    """Shards below the URL of an object store, copied to the local disk when they are read.

    The copies of all buckets and of all processes of a machine lie in one folder of the user's cache
    and take at most `limit` bytes, those under way included; to make room, the ones unused for
    longest go.

    Args:
        url: s3://bucket/folder, or what else obstore knows.
        limit: bytes.
    """

    def __init__(self, url: str, limit: int) -> None:
        self.url, self.limit = url.rstrip("/"), limit
        self.copies = user_cache_path("colorlab") / "shards"
        self.version = ""  # of what lies there: copies of something older have other names

    def __str__(self) -> str:
        return self.url

    def sizes(self) -> dict[str, int]:
        return json.loads(self._access("sizes"))

    def read(self, name: str) -> bytes:
        with tempfile.NamedTemporaryFile() as file:
            self._access("get", name, file.name)
            return Path(file.name).read_bytes()

    def local(self, name: str, size: int) -> Path:
        """A copy of the shard called `name`, fetched now if there is none; another process may delete it at once."""
        copy = self.copies / f"{self.version}{name}"
        try:
            os.utime(copy)  # just used
        except FileNotFoundError:
            self._fetch(name, size, copy)
        return copy

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder) / name
            self._access("put", name, str(Path(folder) / name))

    def delete(self, name: str) -> None:
        self._access("delete", name)

    def _access(self, *words: str) -> str:
        action, *rest = words
        command = [sys.executable, "-P", object_store_access.__file__, action, self.url, *rest]
        done = subprocess.run(command, text=True, capture_output=True)
        if done.returncode != 0:
            raise UserError(f"{'/'.join([self.url, *rest[:1]])}: {done.stderr.strip()}")
        return done.stdout

    def _fetch(self, name: str, size: int, copy: Path) -> None:
        """Copy a shard, unless another process just does: then wait for it."""
        self.copies.mkdir(parents=True, exist_ok=True)
        with self._lock_of(copy):
            if copy.exists():
                return
            with atomic_path(copy) as part:
                with FileLock(self.copies / "room.lock"):
                    self._make_room(size)
                    part.touch()
                    os.truncate(part, size)  # takes its room before the bytes arrive
                self._access("get", name, str(part))
                if part.stat().st_size != size:
                    raise UserError(f"{self}/{name} has {part.stat().st_size} bytes in place of {size}.")

    def _lock_of(self, copy: Path) -> FileLock:
        """The lock of who fetches it; few locks, shared by many shards, leave few files behind."""
        return FileLock(self.copies / f"{zlib.crc32(copy.name.encode()) % 64:02d}.lock")

    def _make_room(self, size: int) -> None:
        """Delete old copies until `size` bytes more are within the limit; wait while the rest is under way."""
        while True:
            for part in self.copies.glob("*.part"):
                with contextlib.suppress(Timeout), self._lock_of(part.with_suffix("")).acquire(blocking=False):
                    part.unlink(missing_ok=True)  # of a process that was killed
            whole = {file: file.stat() for file in self.copies.glob("*.tar")}
            used = sum(stat.st_size for stat in whole.values()) + sum(map(_size, self.copies.glob("*.part")))
            for file in sorted(whole, key=lambda file: whole[file].st_mtime_ns):
                if used + size <= self.limit:
                    return
                file.unlink()
                used -= whole[file].st_size
            if used + size <= self.limit:
                return
            time.sleep(0.05)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # it has become whole
        return 0


def store_at(root: str, limit: int) -> Folder | Bucket:
    """The store that `root` names: a folder, or the URL of a bucket, whose copies take at most `limit` bytes."""
    return Bucket(root, limit) if re.match(r"\w[\w+.-]+://", root) else Folder(root)
