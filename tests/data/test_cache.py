"""Photographs read once: what the cache gives, and what it survives."""

import errno
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from colorlab.data.cache import Cache, CachedPhotographs, DiskCache, MemoryCache
from colorlab.data.photographs import SAMPLES, Names, Photographs, find_photographs
from colorlab.errors import UserError

SIZE = 24
FORK = multiprocessing.get_context("fork")  # a process that need not import torch again


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


def kinds(root: Path, tmp_path: Path) -> list[Cache]:
    return [MemoryCache(root, Names(find_photographs(root)), SIZE), on_disk(root, tmp_path)]


def on_disk(root: Path, tmp_path: Path) -> DiskCache:
    return DiskCache(root, Names(find_photographs(root)), SIZE, tmp_path / "cache")


@pytest.mark.parametrize("fill", [True, False])
def test_what_was_read_comes_back_byte_for_byte_without_the_files(root: Path, tmp_path: Path, fill: bool) -> None:
    names = find_photographs(root)
    plain = Photographs(root, names, SIZE, fill)
    expected = [plain[index] for index in range(len(names))]
    caches = kinds(root, tmp_path)
    cached = []
    for cache in caches:
        cache.open(workers=0)
        cached.append(CachedPhotographs(cache, names, fill))
    for photographs in cached:
        for index, want in enumerate(expected):
            found = photographs[index]
            assert torch.equal(found.rgb, want.rgb)
            assert found.rgb.stride() == want.rgb.stride()
            assert (found.index.tolist(), found.skipped) == (want.index.tolist(), want.skipped)
    shutil.rmtree(root)
    for photographs in cached:
        for index, want in enumerate(expected):
            assert torch.equal(photographs[index].rgb, want.rgb)
            assert photographs[index].skipped == want.skipped


def test_a_part_of_the_photographs_in_another_order_finds_its_own(root: Path, tmp_path: Path) -> None:
    chosen = find_photographs(root)[7:2:-2]
    for cache in kinds(root, tmp_path):
        cache.open(workers=0)
        cached, plain = CachedPhotographs(cache, chosen, fill=False), Photographs(root, chosen, SIZE, fill=False)
        for index in range(len(chosen)):
            assert torch.equal(cached[index].rgb, plain[index].rgb)


def test_the_file_is_built_by_workers_once_and_again_when_the_folder_changes(root: Path, tmp_path: Path) -> None:
    def files() -> list[Path]:
        return sorted((tmp_path / "cache").glob("*.pictures"))

    on_disk(root, tmp_path).open(workers=2)
    (first,) = files()
    written = first.stat().st_mtime_ns
    on_disk(root, tmp_path).open(workers=0)
    assert [first] == files()
    assert first.stat().st_mtime_ns == written
    running = on_disk(root, tmp_path)
    running.open(workers=0)
    shutil.copy(root / find_photographs(root)[0], root / "torn.jpg")
    changed = on_disk(root, tmp_path)
    changed.open(workers=0)
    (second,) = files()
    assert second != first
    row = find_photographs(root).index("torn.jpg")
    photographs = [CachedPhotographs(cache, find_photographs(root), fill=False) for cache in (running, changed)]
    assert [len(each[row].index) for each in photographs] == [0, 1]  # whoever has the old one open keeps it


def build(cache: DiskCache, before_each: Callable[[int], None]) -> None:
    """Open a cache in a process of its own, in which something happens before each photograph is read."""
    read = Photographs.read

    def reading(self: Photographs, index: int) -> torch.Tensor:
        before_each(index)
        return read(self, index)

    Photographs.read = reading
    cache.open(workers=0)


def test_a_killed_build_leaves_nothing_that_is_taken_for_a_cache(root: Path, tmp_path: Path) -> None:
    def die(index: int) -> None:
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    process = FORK.Process(target=build, args=(on_disk(root, tmp_path), die))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".part", ".lock"}
    on_disk(root, tmp_path).open(workers=0)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} <= {".pictures", ".lock"}
    test_what_was_read_comes_back_byte_for_byte_without_the_files(root, tmp_path, fill=False)


def test_what_failed_for_a_reason_that_passes_is_not_kept(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a file server that did not answer; a broken file stays broken."""
    names, answer = find_photographs(root), Path.read_bytes
    row, torn = names.index("erase_crab.jpg"), names.index("torn.jpg")

    def fail(path: Path) -> bytes:
        if path.name == names[row]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return answer(path)

    expected = Photographs(root, names, SIZE, fill=False)[row].rgb
    for cache in kinds(root, tmp_path):
        with monkeypatch.context() as failing:
            failing.setattr(Path, "read_bytes", fail)
            cache.open(workers=0)
            photographs = CachedPhotographs(cache, names, fill=False)
            assert "Input/output error" in photographs[row].skipped[0].reason
            assert photographs[torn].skipped[0].reason == "cannot identify image file"
        assert torch.equal(photographs[row].rgb, expected)
        shutil.copy(root / names[1], root / "torn.jpg")
        assert photographs[torn].skipped[0].reason == "cannot identify image file"
        (root / "torn.jpg").write_bytes(b"torn")


def test_of_two_processes_that_want_to_build_one_builds_and_the_other_waits(root: Path, tmp_path: Path) -> None:
    reads = FORK.Value("i", 0)

    def count(_: int) -> None:
        with reads.get_lock():
            reads.value += 1
        time.sleep(0.03)

    processes = [FORK.Process(target=build, args=(on_disk(root, tmp_path), count)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert reads.value == len(find_photographs(root))


def test_too_little_room_is_told_before_anything_is_read(root: Path, tmp_path: Path) -> None:
    names = Names(find_photographs(root))
    with pytest.raises(UserError, match=r"data\.cache=ram needs 33,\d{3}\.\d GiB of shared memory"):
        MemoryCache(root, names, 10**6).open(workers=0)
    with pytest.raises(UserError, match=r"data\.cache=disk needs 33,\d{3}\.\d GiB, and .*cache has .* GiB left"):
        DiskCache(root, names, 10**6, tmp_path / "cache").open(workers=0)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] in ([], [".lock"])


def test_a_place_that_cannot_be_used_is_named(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"cannot use .*cache .*another data\.cache_dir"):
        on_disk(root, tmp_path).open(workers=0)
