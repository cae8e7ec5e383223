"""Published networks by one word: their weights are fetched once from where their authors publish them.

Imports nothing heavy.
"""

import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from email.message import Message
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from filelock import FileLock
from platformdirs import user_cache_path

import colorlab
from colorlab.errors import UserError, reason_of
from colorlab.files import crc32_of, write_text

MIRROR = "COLORLAB_MIRROR"
"""Environment variable with an address, such as http://mirror.example/colorlab, that replaces https://HOST of all
addresses below."""

TIMEOUT = 30
"""Seconds without an answer after which a transfer is given up."""

CHUNK = 2**20


class Published(NamedTuple):
    """Published weights.

    Args:
        authors: who published them, and where they are described.
        license: of the weights.
        megabytes: about the size of the file.
        addresses: where it is; the first that exists is taken.
        sha256: what the file's SHA-256 begins with, in hexadecimal; "" where that is not known.
    """

    authors: str
    license: str
    megabytes: int
    addresses: tuple[str, ...]
    sha256: str = ""


_COLORIZERS = "https://colorizers.s3.us-east-2.amazonaws.com"


def _hugging_face(name: str) -> tuple[str, ...]:
    folder = f"https://huggingface.co/piddnad/{name}/resolve/main"
    return f"{folder}/model.safetensors", f"{folder}/pytorch_model.bin"


_DDCOLOR = "Kang et al., ICCV 2023"

PUBLISHED = {
    "eccv16": Published(
        "Zhang et al., ECCV 2016", "BSD-2-Clause", 129,
        (f"{_COLORIZERS}/colorization_release_v2-9b330a0b.pth",), "9b330a0b",
    ),
    "siggraph17": Published(
        "Zhang et al., SIGGRAPH 2017", "BSD-2-Clause", 137,
        (f"{_COLORIZERS}/siggraph17-df00044c.pth",), "df00044c",
    ),
    "ddcolor_tiny": Published(_DDCOLOR, "Apache-2.0", 220, _hugging_face("ddcolor_paper_tiny")),
    "ddcolor": Published(_DDCOLOR, "Apache-2.0", 912, _hugging_face("ddcolor_modelscope")),
    "ddcolor_artistic": Published(_DDCOLOR, "Apache-2.0", 912, _hugging_face("ddcolor_artistic")),
}  # fmt: skip
"""The published networks, by word."""


def published_word(path: str | Path) -> str | None:
    """Return the word of a published network; None for other paths, also if there is a file or folder of that name."""
    return str(path) if str(path) in PUBLISHED and not Path(path).exists() else None


def published_folder() -> Path:
    """Return the folder, in the user's cache, that fetched weights are kept in."""
    return user_cache_path("colorlab") / "published"


def fetch(word: str, check: Callable[[Path], None]) -> Path:
    """Return the file of a published network's weights; fetch it first unless that was done before.

    What is fetched is printed, with its size, its license and its place. The file is checked, and only then put in its
    place: a fetch that fails leaves nothing behind. While one process fetches, others wait.

    Args:
        word: a key of `PUBLISHED`.
        check: raises UserError if a file does not hold the network's weights.

    Raises:
        UserError: the file cannot be fetched or kept, or is not the one that the authors published.
    """
    folder = published_folder()
    places = {address: folder / f"{word}{Path(address).suffix}" for address in PUBLISHED[word].addresses}
    try:
        if kept := _sound_file(places.values()):
            return kept
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{word}.lock"):
            if kept := _sound_file(places.values()):  # another process has fetched it
                return kept
            for damaged in filter(Path.is_file, places.values()):
                print(f"{damaged} is damaged: it is fetched again.", file=sys.stderr, flush=True)
            for left in folder.glob(f"{word}.*.part"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=f"{word}.", suffix=".part", dir=folder) as part:
                address, file = _fetch_first(word, Path(part))
                try:
                    check(file)
                except UserError as error:
                    raise UserError(f"{address} does not hold the weights of {word}: nothing is kept.") from error
                write_text(_checksum_of(folder / file.name), crc32_of(file))
                return file.replace(folder / file.name)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{word} cannot be kept in {folder} ({reason}): XDG_CACHE_HOME names another cache.") from error


def _sound_file(paths: Iterable[Path]) -> Path | None:
    """Return the first file that is there; None if there is none, or it has changed since it was fetched."""
    file = next((path for path in paths if path.is_file()), None)
    if file is None or not _checksum_of(file).is_file():
        return file
    return file if _checksum_of(file).read_bytes() == crc32_of(file).encode() else None


def _checksum_of(file: Path) -> Path:
    """Return the path of the file with the CRC-32 of a file of weights; earlier versions wrote none."""
    return file.with_name(f"{file.name}.crc32")


def _fetch_first(word: str, folder: Path) -> tuple[str, Path]:
    """Fetch the file at the first address that exists into a folder; return its address and path."""
    published = PUBLISHED[word]
    for address in published.addresses:
        from_here, file = _mirrored(address), folder / f"{word}{Path(address).suffix}"
        if address == published.addresses[0]:
            _announce(word, from_here)
        try:
            sha256, stated = _transfer(from_here, file)
        except HTTPError as error:
            if error.code == 404 and address != published.addresses[-1]:
                continue
            at_times = ", as that place does at times" if error.code == 403 else ""
            raise _failure(word, from_here, f"it answers {error.code} {error.reason}{at_times}") from error
        except _Broken as error:
            raise _failure(word, from_here, str(error)) from error
        expected = published.sha256 or stated
        if not sha256.startswith(expected):
            raise UserError(
                f"{from_here} is not the file that the authors of {word} published: its SHA-256 begins with"
                f" {sha256[:8]}, not {expected[:8]}; nothing is kept."
            )
        return from_here, file
    raise AssertionError(f"{word} has no address")


def _announce(word: str, address: str) -> None:
    what = PUBLISHED[word]
    facts = f"{what.authors}; about {what.megabytes} MB; license: {what.license}"
    print(f"fetching {word} ({facts}) from {address} into {published_folder()}", file=sys.stderr, flush=True)


def _failure(word: str, address: str, reason: str) -> UserError:
    return UserError(
        f"{word} cannot be fetched from {address} ({reason}): try again later, or fetch the file elsewhere and give its"
        f" path in place of {word}."
    )


def _mirrored(address: str) -> str:
    """Return the address at the mirror, if one is set.

    Raises:
        UserError: the mirror is no address.
    """
    mirror = os.environ.get(MIRROR)
    if not mirror:
        return address
    if not re.match(r"https?://[^/]", mirror):
        raise UserError(f"{MIRROR}={mirror} must be an address such as http://mirror.example/colorlab.")
    return mirror.rstrip("/") + urlsplit(address).path


# -- one transfer ------------------------------------------------------------------------------------


class _Broken(Exception):
    """The transfer failed, and not because of the disk."""


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, and keeps the SHA-256 of the file that Hugging Face states in the first answer."""

    sha256 = ""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        self.sha256 = self.sha256 or _stated_sha256(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _stated_sha256(headers: Message) -> str:
    """Return the SHA-256 in the headers of an answer of Hugging Face; "" if there is none."""
    stated = headers.get("X-Linked-Etag", "").strip('"')
    return stated if re.fullmatch(r"[0-9a-f]{64}", stated) else ""


def _transfer(address: str, file: Path) -> tuple[str, str]:
    """Fetch a file, and show the progress; return its SHA-256, and the one that the place states, or "".

    Raises:
        HTTPError: the place refuses it.
        _Broken: there is no connection, or it is cut off.
        UserError: there is not enough room.
        OSError: the file cannot be written.
    """
    redirects = _Redirects()
    request = Request(address, headers={"User-Agent": f"colorlab/{colorlab.__version__}"})
    try:
        response = build_opener(redirects).open(request, timeout=TIMEOUT)
    except HTTPError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise _Broken(_reason(error)) from error
    with response:
        length = response.headers.get("Content-Length", "")
        size = int(length) if length.isdecimal() else None
        free = shutil.disk_usage(file.parent).free
        if size is not None and size > free:
            raise UserError(
                f"{address} has {_megabytes(size)}, and {published_folder()} has room for {_megabytes(free)}."
            )
        digest, received = hashlib.sha256(), 0
        with file.open("wb") as out, _progress(size) as show:
            while chunk := _read(response, received):
                out.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                show(received)
        if size is not None and received != size:
            raise _Broken(f"cut off after {_megabytes(received)} of {_megabytes(size)}")
        return digest.hexdigest(), redirects.sha256 or _stated_sha256(response.headers)


def _read(response: IO[bytes], received: int) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Broken(f"cut off after {_megabytes(received)}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Return why a connection failed, without the number of the error."""
    cause = error.reason if isinstance(error, URLError) and isinstance(error.reason, Exception) else error
    return (isinstance(cause, OSError) and cause.strerror) or reason_of(cause)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


@contextmanager
def _progress(size: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal; yield a function that takes the number of bytes received so far."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=size)
        yield lambda received: progress.update(task, completed=received)
