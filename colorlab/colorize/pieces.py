"""The colored pieces of a film, kept beside the result until the film is done, so that coloring can resume."""

import hashlib
import io
import logging
import shutil
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from colorlab.colorize.flicker import ColoredFrame
from colorlab.colorize.jobs import Options
from colorlab.files import atomic_path, crc32_of
from colorlab.models.colorizer import Colorizer

log = logging.getLogger(__name__)


class Pieces:
    """A folder of encoded pieces, each complete, all of one film, model and options.

    A piece is `NNNNNN.mp4`; beside it, `NNNNNN.pt` holds its last frame and its checksum.

    Args:
        folder: the folder. If its fingerprint differs, its content is removed.
        fingerprint: what the pieces depend on.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        mark = folder / "fingerprint"
        if not (mark.is_file() and mark.read_bytes() == fingerprint.encode()):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            mark.write_text(fingerprint)

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.mp4"

    def last_frame(self, number: int) -> ColoredFrame | None:
        """Return the last frame of a piece, from which the next one goes on; None if it is missing or damaged."""
        piece = self.path(number)
        if not piece.is_file():
            return None
        try:
            kept = piece.with_suffix(".pt").read_bytes()
            if zlib.crc32(kept[4:]) != int.from_bytes(kept[:4], "little"):
                raise ValueError("its last frame is damaged")
            *frame, written = torch.load(io.BytesIO(kept[4:]), weights_only=True)
            if written != crc32_of(piece):
                raise ValueError("it has changed")
            return ColoredFrame(*frame)
        except Exception as error:  # of reading a file, or of torch: the piece can be made again
            log.warning("Piece %d in %s is damaged (%s): it is colored again.", number, self.folder, error)
            return None

    def writing(self, number: int) -> AbstractContextManager[Path]:
        """Return a context that yields a path to write a piece to, which appears when the block succeeds."""
        return atomic_path(self.path(number))

    def save_last_frame(self, number: int, part: Path, frame: ColoredFrame | None) -> None:
        """Save the last frame of a piece and its checksum, before the piece gets its name.

        Args:
            number: of the piece.
            part: the file that it is written to, closed.
            frame: its last one.
        """
        assert frame is not None, "a piece has at least one frame"
        buffer = io.BytesIO()  # torch does not report why it cannot write to a file
        torch.save([*(each.cpu() for each in frame), crc32_of(part)], buffer)
        content = buffer.getvalue()
        self.path(number).with_suffix(".pt").write_bytes(zlib.crc32(content).to_bytes(4, "little") + content)

    def remove(self) -> None:
        shutil.rmtree(self.folder)


def fingerprints(model: Colorizer, options: Options) -> Callable[[Path], str]:
    """Return a function that returns a digest of all that a result depends on: the source, weights and options."""
    weights = hashlib.blake2b(digest_size=16)
    for name, value in model.state_dict().items():
        weights.update(name.encode() + value.cpu().flatten().view(torch.uint8).numpy().tobytes())
    size = model.input_size if options.size is None else options.size
    coloring = (
        size, options.guided, options.saturation, options.temperature, options.side_by_side, options.steady
    )  # fmt: skip

    def of(source: Path) -> str:
        digest, status = weights.copy(), source.stat()
        digest.update(repr((str(source.resolve()), status.st_size, status.st_mtime_ns, coloring)).encode())
        return digest.hexdigest()

    return of
