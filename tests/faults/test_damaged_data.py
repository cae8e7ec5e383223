"""Damaged caches, priors, indices, journals and small files: made again, or refused quickly in bounded memory."""

import io
import random
import resource
import shutil
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.distributions import FloatDistribution

from colorlab.colorize.jobs import Options
from colorlab.data.cache import CachedPhotographs, DiskCache
from colorlab.data.color_histogram import read_prior
from colorlab.data.photographs import Photographs
from colorlab.data.shard_index import INDEX, Shards
from colorlab.data.shard_storage import ShardFolder
from colorlab.data.splits import SAMPLES, FileNames, find_photographs
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder
from colorlab.shards.packing import ShardWriter
from colorlab.sweeps.search import Search
from support.commands import SMALL

# -- caches ------------------------------------------------------------------------------------------


def test_a_damaged_disk_cache_gives_the_photographs_pixels(tmp_path: Path, tally: Any) -> None:
    names, draw = find_photographs(SAMPLES)[:8], random.Random(0)
    expected = [Photographs(SAMPLES, names, 24, fill=False)[row].rgb for row in range(len(names))]

    def cached() -> CachedPhotographs:
        cache = DiskCache(SAMPLES, FileNames(names), 24, tmp_path)
        cache.open(workers=0)
        return CachedPhotographs(cache, names, fill=False)

    cached()
    (file,) = tmp_path.glob("*.pictures")
    whole = file.read_bytes()
    for _ in range(tally.times(10, 100)):
        with tally.injecting("the disk cache has zeros, flipped bits or no end"):
            damaged, at = bytearray(whole), draw.randrange(len(whole))
            if (kind := draw.randrange(3)) == 0:
                damaged[at] ^= 1 << draw.randrange(8)
            elif kind == 1:
                damaged[at : at + 4096] = bytes(len(damaged[at : at + 4096]))
            file.write_bytes(damaged[:at] if kind == 2 else damaged)
            photographs = cached()
            assert all(torch.equal(photographs[row].rgb, expected[row]) for row in range(len(names)))
            assert file.read_bytes() == whole


# -- arrays ------------------------------------------------------------------------------------------


def npy(shape: str, dtype: str = "<i8", body: bytes = b"") -> bytes:
    """Return the content of a .npy file whose header says this."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def npz(name: str, content: bytes, **changed: int) -> bytes:
    """Return a .npz file with one array, whose directory lies about it as `changed` says."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(f"{name}.npy", content)
        for field, value in changed.items():
            setattr(archive.infolist()[0], field, value)
    return file.getvalue()


BOMB = 2**25
LIES: tuple[tuple[Callable[[], bytes], dict[str, int]], ...] = (
    (lambda: npy("(1000000000, 1000000000)", body=bytes(80)), {}),
    (lambda: npy("(134217728,)", body=bytes(80)), {}),
    (lambda: npy("(-1, -10)", body=bytes(80)), {}),
    (lambda: npy("(1,)", "|O", bytes(8)), {}),
    (lambda: npy(f"({BOMB // 8},)", body=bytes(BOMB)), {}),
    (lambda: npy("(10,)", body=bytes(BOMB)), {"file_size": 200}),
    (lambda: npy("__import__('os').getpid()"), {}),
    (lambda: npy("(" * 3000 + ")" * 3000), {}),
    (lambda: b"", {}),
)
"""Contents of .npy files that lie, and what the directory of the .npz file says of them."""


@contextmanager
def bounded(room: int, seconds: float) -> Iterator[None]:
    """Let the block map at most `room` bytes more, and assert that it takes less time of the processor than this."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + room, limits[1]))
    started = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert time.process_time() - started < seconds


def test_arrays_that_lie_are_refused_quickly_in_bounded_memory(tmp_path: Path, tally: Any) -> None:
    (tmp_path / "train-000000.tar").write_bytes(bytes(10_240))
    for content, directory in LIES:
        for name, file, read in (
            ("prior", tmp_path / "prior.npz", lambda: read_prior(tmp_path / "prior.npz")),
            ("names", tmp_path / INDEX, lambda: Shards(ShardFolder(str(tmp_path)))),
        ):
            file.write_bytes(npz(name, content(), **directory))
            with (
                tally.injecting("a prior or an index of shards lies about its size, or unpacks to gigabytes"),
                bounded(BOMB, seconds=1),
                pytest.raises(UserError, match=r"is not a prior made by|holds no shards"),
            ):
                read()


def test_an_index_that_contradicts_itself_or_its_shards_is_refused(tmp_path: Path, tally: Any) -> None:
    writer = ShardWriter(ShardFolder(str(tmp_path)), 10**6)
    writer.add("train", [(f"{name}.jpg", b"content" * 99, 0) for name in "abcd"])
    whole = writer.finish()._asdict()
    assert Shards(ShardFolder(str(tmp_path))).names("train") == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    for field, value in (
        ("names", whole["names"][:3]), ("names", whole["names"][None]), ("names", np.arange(4)),
        ("by_name", np.zeros(4, dtype=np.int64)), ("by_name", whole["by_name"] + 1), ("starts", -whole["starts"]),
        ("starts", whole["starts"] * 99), ("sizes", whole["sizes"] + 10**12), ("sizes", whole["sizes"] * 1.0),
        ("ends", whole["ends"] + 10**9), ("ends", -whole["ends"]), ("lengths", whole["lengths"] * 2),
        ("shards", np.array(["../secret"])), ("times", np.array(["x"] * 4)),
    ):  # fmt: skip
        np.savez(tmp_path / INDEX, **(whole | {field: value}))
        with tally.injecting("an index of shards contradicts itself or the shards"), pytest.raises(UserError):
            Shards(ShardFolder(str(tmp_path)))


# -- searches ----------------------------------------------------------------------------------------


def test_a_search_goes_on_from_a_journal_that_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tally: Any
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # Optuna's after each line, which takes most of the time
    space, draw = {"optim.lr": FloatDistribution(1e-5, 1e-2)}, random.Random(0)

    def run(search: Search) -> None:
        (trial,) = search.ask()
        folder = RunFolder(tmp_path / f"{trial.number}_run")
        folder.write_configuration({}, [])
        folder.write_status({"status": "done"})
        search.tell(trial, folder, 0.5)

    for _ in range(2):
        run(Search(tmp_path, space, "val/loss", trials=4))
    whole = (tmp_path / "study.journal").read_bytes()
    for cut in (7, *(draw.randrange(1, len(whole)) for _ in range(tally.times(2, 20)))):
        with tally.injecting("the journal of a search is cut off"):
            (tmp_path / "study.journal").write_bytes(whole[:-cut])
            search = Search(tmp_path, space, "val/loss", trials=4)
            left = search.left()
            assert left in (2, 3, 4)
            run(search)
            assert Search(tmp_path, space, "val/loss", trials=4).left() == left - 1


# -- films -------------------------------------------------------------------------------------------


def test_a_damaged_piece_of_a_film_is_colored_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, tally: Any
) -> None:
    pytest.importorskip("av")
    from colorlab.colorize.film import color_film
    from support.films import make_film, read_film

    monkeypatch.setattr("colorlab.colorize.film.PIECE", 10)
    options, model = Options(size=32, batch_size=4, force=True), CUNet(width=2).eval()
    source, target = make_film(tmp_path / "old.mp4", sound=False), tmp_path / "new.mp4"
    list(color_film(source, target, model, options))
    expected, pieces = read_film(target).pictures, tmp_path / ".new.mp4.pieces"
    course = color_film(source, target, model, options)
    while next(course) < 0.6:  # in the second piece
        pass
    course.close()
    shutil.copytree(pieces, tmp_path / "whole")
    damages = (
        ("000000.mp4", lambda content: content[:-50]),
        ("000000.pt", lambda content: content[:900] + bytes([content[900] ^ 1]) + content[901:]),
        ("000000.mp4", lambda content: content[:900] + bytes([content[900] ^ 1]) + content[901:]),
        ("000000.pt", lambda content: b""),
    )
    for file, damage in damages[: tally.times(2, 4)]:
        with tally.injecting("a colored piece of a film is damaged"):
            shutil.copytree(tmp_path / "whole", pieces, dirs_exist_ok=True)
            (pieces / file).write_bytes(damage((pieces / file).read_bytes()))
            caplog.clear()
            list(color_film(source, target, model, options))
            (line,) = (record.getMessage() for record in caplog.records if "Piece" in record.getMessage())
            assert line.startswith(f"Piece 0 in {pieces} is damaged (")
            assert all(map(np.array_equal, read_film(target).pictures, expected))


# -- run folders -------------------------------------------------------------------------------------


def test_small_files_of_a_run_that_are_torn_are_refused_or_made_again(
    run_command_here: Callable, tmp_path: Path, tally: Any
) -> None:
    """A resume, a decay and the leaderboard of a run with a sound checkpoint."""
    files = ["metrics.csv", "status.json", "origin.json", "config.yaml", "overrides.yaml"]
    words = ["objective=mse"]
    if tally.times(0, 1):  # counting colors takes longer
        files, words = [*files, "prior.npz"], ["objective=rebalanced_classification"]
    assert run_command_here("train", *SMALL, *words, "trainer.max_epochs=1", "hydra.run.dir=run")[0] == 0
    shutil.move("run", "whole")
    damages = (lambda whole: whole[: len(whole) // 2], lambda whole: bytes(len(whole)), lambda whole: b"")
    every = [(file, damage) for file in files for damage in damages]
    for file, damage in every[:: tally.times(10, 2)]:
        shutil.rmtree("run", ignore_errors=True)
        shutil.copytree("whole", "run")
        content = Path("run", file).read_bytes()
        Path("run", file).write_bytes(damage(content))
        with tally.injecting("a small file of a run folder is torn or full of zeros"):
            for command in (("train", "resume=run"), ("decay", "run"), ("leaderboard", "run")):
                code, said = run_command_here(*command)
                assert code in (0, 2), (file, command, said)
                assert code == 0 or said.startswith("colorlab: "), (file, command, said)
                last = Path("run", "checkpoints", "last.ckpt")
                assert last.read_bytes() == Path("whole", "checkpoints", "last.ckpt").read_bytes()
