"""The cache of decoded photographs."""

import errno
import multiprocessing
import os
import pickle
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from colorlab.data.cache import CachedPhotographs, DiskCache
from colorlab.data.photographs import Photographs
from colorlab.data.splits import SAMPLES, FileNames, find_photographs
from colorlab.errors import UserError

SIZE = 24
FORK = multiprocessing.get_context("fork")  # starts without importing torch again


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Twelve photographs, one of them gray, one broken."""
    root = tmp_path / "photographs [1]"
    root.mkdir()
    for path in sorted(SAMPLES.glob("*.jpg"))[:10]:
        shutil.copy(path, root)
    (root / "torn.jpg").write_bytes(b"torn")
    Image.open(root / "erase_crab.jpg").convert("L").save(root / "gray.png")
    return root


def cache_of(root: Path, tmp_path: Path) -> DiskCache:
    return DiskCache(root, FileNames(find_photographs(root)), SIZE, tmp_path / "cache")


@pytest.mark.parametrize("fill", [True, False])
def test_cached_photographs_equal_uncached_ones_without_the_files(root: Path, tmp_path: Path, fill: bool) -> None:
    names = find_photographs(root)
    plain = Photographs(root, names, SIZE, fill)
    expected = [plain[index] for index in range(len(names))]
    cache = cache_of(root, tmp_path)
    cache.open(workers=0)
    cached = CachedPhotographs(cache, names, fill)
    shutil.rmtree(root)
    for index, want in enumerate(expected):
        found = cached[index]
        assert torch.equal(found.rgb, want.rgb)
        assert found.rgb.stride() == want.rgb.stride()
        assert (found.index.tolist(), found.skipped) == (want.index.tolist(), want.skipped)


def test_some_of_the_photographs_in_another_order_are_found(root: Path, tmp_path: Path) -> None:
    chosen = find_photographs(root)[7:2:-2]
    cache = cache_of(root, tmp_path)
    cache.open(workers=0)
    cached, plain = CachedPhotographs(cache, chosen, fill=False), Photographs(root, chosen, SIZE, fill=False)
    for index in range(len(chosen)):
        assert torch.equal(cached[index].rgb, plain[index].rgb)


def test_the_file_is_built_once_and_again_when_the_folder_changes(root: Path, tmp_path: Path) -> None:
    def files() -> list[Path]:
        return sorted((tmp_path / "cache").glob("*.pictures"))

    cache_of(root, tmp_path).open(workers=2)
    (first,) = files()
    written = first.stat().st_mtime_ns
    cache_of(root, tmp_path).open(workers=0)
    assert [first] == files()
    assert first.stat().st_mtime_ns == written
    running = cache_of(root, tmp_path)
    running.open(workers=0)
    shutil.copy(root / find_photographs(root)[0], root / "torn.jpg")
    changed = cache_of(root, tmp_path)
    changed.open(workers=0)
    assert first in files()  # the first is in use: a worker that is not forked opens it again
    row = find_photographs(root).index("torn.jpg")
    photographs = [CachedPhotographs(cache, find_photographs(root), fill=False) for cache in (running, changed)]
    assert [len(each[row].index) for each in photographs] == [0, 1]  # an open cache stays as it was
    in_worker = pickle.loads(pickle.dumps(running))
    assert len(CachedPhotographs(in_worker, find_photographs(root), fill=False)[row].index) == 0
    del running, changed, photographs, in_worker
    (root / "torn.jpg").write_bytes(b"torn again")
    cache_of(root, tmp_path).open(workers=0)
    assert len(files()) == 1


def test_a_damaged_picture_is_read_again_and_repaired(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = find_photographs(root)
    expected = [Photographs(root, names, SIZE, fill=False)[row] for row in range(len(names))]
    cache_of(root, tmp_path).open(workers=0)
    (file,) = (tmp_path / "cache").glob("*.pictures")
    content = file.read_bytes()
    damaged = bytearray(content)
    for row in (0, 3, names.index("torn.jpg")):
        damaged[row * 3 * SIZE**2 + 40] ^= 16
    file.write_bytes(damaged)
    cache = cache_of(root, tmp_path)
    cache.open(workers=0)
    photographs = CachedPhotographs(cache, names, fill=False)
    for row, want in enumerate(expected):
        assert torch.equal(photographs[row].rgb, want.rgb)
        assert photographs[row].skipped == want.skipped
    assert [record.getMessage() for record in caplog.records] == [
        f"{file} is damaged: its damaged pictures are read again from the photographs."
    ]
    assert file.read_bytes() == content


def test_a_cache_that_was_cut_off_or_whose_table_is_damaged_is_built_again(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache_of(root, tmp_path).open(workers=0)
    (file,) = (tmp_path / "cache").glob("*.pictures")
    content = file.read_bytes()
    for damaged in (content[:-7], b"", content + b"more", content[:-20] + bytes(20), content[:-1] + b"?"):
        file.write_bytes(damaged)
        caplog.clear()
        cache_of(root, tmp_path).open(workers=0)
        assert file.read_bytes() == content
        (line,) = (record.getMessage() for record in caplog.records)
        assert line.startswith(f"{file} is damaged (")
        assert line.endswith("): it is built again.")


def test_a_cache_cut_off_while_it_is_used_is_no_longer_used(root: Path, tmp_path: Path) -> None:
    names = find_photographs(root)
    cache = cache_of(root, tmp_path)
    cache.open(workers=0)
    (file,) = (tmp_path / "cache").glob("*.pictures")
    os.truncate(file, 5)
    file.chmod(0o400)
    cached, plain = CachedPhotographs(cache, names, fill=False), Photographs(root, names, SIZE, fill=False)
    assert all(torch.equal(cached[row].rgb, plain[row].rgb) for row in range(len(names)))


def build(cache: DiskCache, before_each: Callable[[int], None]) -> None:
    """Open a cache and call `before_each` with the index of each photograph before it is read."""
    read = Photographs.read

    def reading(self: Photographs, index: int) -> torch.Tensor:
        before_each(index)
        return read(self, index)

    Photographs.read = reading
    cache.open(workers=0)


def test_a_killed_build_is_not_mistaken_for_a_cache(root: Path, tmp_path: Path) -> None:
    def die(index: int) -> None:
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=build, args=(cache_of(root, tmp_path), die))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".part", ".lock"}
    cache_of(root, tmp_path).open(workers=0)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} <= {".pictures", ".lock"}
    test_cached_photographs_equal_uncached_ones_without_the_files(root, tmp_path, fill=False)


def test_transient_errors_are_not_cached(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server may answer the next time; a broken file stays broken."""
    names, answer = find_photographs(root), Path.read_bytes
    row, torn = names.index("erase_crab.jpg"), names.index("torn.jpg")

    def fail(path: Path) -> bytes:
        if path.name == names[row]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return answer(path)

    expected = Photographs(root, names, SIZE, fill=False)[row].rgb
    cache = cache_of(root, tmp_path)
    with monkeypatch.context() as failing:
        failing.setattr(Path, "read_bytes", fail)
        cache.open(workers=0)
        photographs = CachedPhotographs(cache, names, fill=False)
        assert "Input/output error" in photographs[row].skipped[0].reason
        assert photographs[torn].skipped[0].reason == "cannot identify image file"
    assert torch.equal(photographs[row].rgb, expected)
    shutil.copy(root / names[1], root / "torn.jpg")
    assert photographs[torn].skipped[0].reason == "cannot identify image file"


def test_one_process_builds_while_another_waits(root: Path, tmp_path: Path) -> None:
    reads = FORK.Value("i", 0)

    def count(_: int) -> None:
        with reads.get_lock():
            reads.value += 1
        time.sleep(0.03)

    processes = [FORK.Process(target=build, args=(cache_of(root, tmp_path), count)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert reads.value == len(find_photographs(root))


def test_too_little_space_is_reported_before_anything_is_read(root: Path, tmp_path: Path) -> None:
    names = FileNames(find_photographs(root))
    with pytest.raises(UserError, match=r"data\.cache=disk needs 33,\d{3}\.\d GiB, and .*cache has .* GiB left"):
        DiskCache(root, names, 10**6, tmp_path / "cache").open(workers=0)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] in ([], [".lock"])


def test_an_unusable_cache_folder_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot use .*cache .*another data\.cache_dir"):
        cache_of(root, tmp_path).open(workers=0)
