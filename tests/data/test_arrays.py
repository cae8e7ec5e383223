"""Arrays of .npz files: those of numpy are read, and damaged ones are refused.

tests/faults/test_damaged_data.py reads files that lie."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from colorlab.data.arrays import NotArrays, read_arrays


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path: Path, save: Callable) -> None:
    arrays = {
        "a": np.arange(12).reshape(3, 4), "b": np.array([b"one", b"three"]), "c": np.array(2.5, dtype=np.float32),
        "d": np.asfortranarray(np.random.rand(4, 5)), "e": np.array(["\u00e4", "bc"]), "f": np.empty((0, 3)),
    }  # fmt: skip
    save(tmp_path / "file.npz", **arrays)
    for source in (tmp_path / "file.npz", (tmp_path / "file.npz").read_bytes()):
        found = read_arrays(source, arrays, limit=10_000)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", a=np.random.rand(100))
    content = bytearray((tmp_path / "file.npz").read_bytes())
    content[500] ^= 4
    with pytest.raises(NotArrays):
        read_arrays(bytes(content), ["a"], limit=10_000)
