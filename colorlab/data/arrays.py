"""Read the arrays of a .npz file, which may be damaged or a stranger's, in bounded memory."""

import io
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib import format as npy


class NotArrays(Exception):
    """The file does not hold these arrays; the message says why."""


def read_arrays(file: Path | bytes, names: Iterable[str], limit: int) -> dict[str, np.ndarray]:
    """Read arrays, and compare them with the checksums in the file.

    What the file says of a member's size, and a member of its array's, is checked before memory is taken. numpy's own
    reader takes as much as the file says.

    Args:
        file: a .npz file, or its content.
        names: of the arrays.
        limit: the most bytes that they may take together.

    Raises:
        NotArrays: the file is no .npz file, is damaged, lacks an array, or holds more, or Python objects.
    """
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(file) if isinstance(file, bytes) else file) as archive:
            for name in names:
                member = archive.getinfo(f"{name}.npy")
                limit -= member.file_size
                if limit < 0:
                    raise NotArrays(f"{name} is too large")
                with archive.open(member) as stream:
                    content = stream.read(member.file_size + 1)  # with a number: it unpacks no more than this
                found[name] = _array_in(name, content)
    except NotArrays:
        raise
    except Exception as error:  # zipfile and numpy raise BadZipFile, KeyError, EOFError, zlib.error, SyntaxError, …
        raise NotArrays(str(error) or type(error).__name__) from error
    return found


def _array_in(name: str, content: bytes) -> np.ndarray:
    """Return the array in the content of a .npy file."""
    stream = io.BytesIO(content)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(stream)]
    shape, columns_first, dtype = read_header(stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise NotArrays(f"{name} is not the array that it says it is")
    return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape, order="F" if columns_first else "C")
