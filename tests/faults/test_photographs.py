"""A zoo of broken files, and a folder of photographs that changes while a network learns from it."""

import io
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from colorlab.data import ColorDataModule
from colorlab.data.photographs import SAMPLES
from colorlab.images.decoding import read_photograph
from colorlab.runs.folder import RunFolder
from support.command_process import CommandProcess, processes_in_session
from support.fault_injection import at_call

RUN = (
    "model=cunet", "model.width=2", "data=folder", "data.root=photographs", "data.size=32", "data.batch_size=16",
    "trainer=cpu", "trainer.max_epochs=2", "logger=csv", "metrics=[psnr]", "callbacks.comparison=null",
    "callbacks.curves=null", "data.cache_dir=kept", "hydra.run.dir=run",
)  # fmt: skip
HEAD, PNG = 600, b"\x89PNG"
NOBODY = 65534
"""Permissions do not bind root."""

ways = pytest.mark.parametrize(
    ("workers", "cache"),
    [(2, "none"), *(pytest.param(*way, marks=pytest.mark.faults) for way in ((0, "none"), (0, "disk"), (2, "disk")))],
)


# -- the zoo -----------------------------------------------------------------------------------------


def kinds(picture: Image.Image) -> list[bytes]:
    """A photograph in the ways JPEG and PNG have for it."""
    turned, profile = Image.Exif(), ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    turned[ExifTags.Base.Orientation] = 6
    ways = [
        ("JPEG", "RGB", {}), ("JPEG", "RGB", {"progressive": True, "exif": turned}), ("JPEG", "CMYK", {}),
        ("JPEG", "L", {}), ("JPEG", "RGB", {"icc_profile": profile}), ("PNG", "RGB", {}), ("PNG", "P", {}),
        ("PNG", "RGBA", {"exif": turned}), ("PNG", "1", {}), ("PNG", "RGB", {"icc_profile": profile}),
    ]  # fmt: skip
    files = []
    for kind, mode, how in ways:
        file = io.BytesIO()
        picture.convert(mode).save(file, kind, **how)
        files.append(file.getvalue())
    return [*files, imagecodecs.png_encode(np.asarray(picture).astype(np.uint16) * 257)]


def fuzzed(content: bytes, chance: random.Random) -> bytes:
    """A file cut off, or with bits turned, in its head or anywhere; of a PNG the checksums may be made right again."""
    if chance.random() < 0.3:
        return content[: chance.randrange(1, len(content))]
    torn = bytearray(content)
    reach = min(len(torn), HEAD) if chance.random() < 0.5 else len(torn)
    for _ in range(chance.choice((1, 4, 30))):
        torn[chance.randrange(2, reach)] ^= 1 << chance.randrange(8)
    return with_right_checksums(torn) if content.startswith(PNG) and chance.random() < 0.7 else bytes(torn)


def with_right_checksums(png: bytearray) -> bytes:
    """What is wrong with it is found by the decoder then."""
    place = 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4])
        if end + 4 > len(png):
            break
        png[end : end + 4] = zlib.crc32(png[place + 4 : end]).to_bytes(4)
        place = end + 4
    return bytes(png)


def zoo(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """So many fuzzed files, the same each time."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    samples, paths = sorted(SAMPLES.glob("*.jpg")), []
    while len(paths) < count:
        with Image.open(chance.choice(samples)) as picture:
            for content in kinds(picture.convert("RGB").resize((90, 70))):
                kind = "png" if content.startswith(PNG) else "jpg"
                paths.append(folder / f"fuzzed{len(paths):03d}.{kind}")
                paths[-1].write_bytes(fuzzed(content, chance))
    for path in paths[count:]:
        path.unlink()
    return paths[:count]


def read_all(paths: list[Path], outcome: Path) -> None:
    """Write down of each file whether it can be read, as soon as that is known."""
    with outcome.open("w", buffering=1) as file:
        for path in paths:
            try:
                channels, *_ = read_photograph(path).shape
                assert channels == 3
                file.write("read\n")
            except AssertionError:
                raise
            except Exception as error:
                file.write(f"refused: {type(error).__name__}\n")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert used < 2, f"{used:.1f} GiB"


def test_files_fuzzed_from_photographs_are_read_or_refused(tally, tmp_path: Path) -> None:
    """In a process of its own, whose crash would be seen."""
    count = tally.times(44, 660)
    paths, outcome = zoo(tmp_path / "zoo", count), tmp_path / "outcome"
    with tally.injecting("a JPEG or PNG file is truncated or corrupted", times=count):
        reader = multiprocessing.get_context("fork").Process(target=read_all, args=(paths, outcome))
        reader.start()
        reader.join(300)
        alive = reader.is_alive()
        reader.kill()
        outcomes = outcome.read_text().splitlines()
        assert not alive, f"hangs at {paths[len(outcomes)]}"
        assert reader.exitcode == 0, f"crashes at {paths[len(outcomes) :][:1]}"
        assert len(outcomes) == count
        assert {each.partition(":")[0] for each in outcomes} == {"read", "refused"}


# -- trainings on it ---------------------------------------------------------------------------------


@pytest.fixture
def where() -> Iterator[Path]:
    """A folder that everybody may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o777)
        yield path


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def good(root: Path, *folders: str) -> list[Path]:
    """The built-in photographs, in these folders."""
    paths = []
    for number, sample in enumerate(sorted(SAMPLES.glob("*.jpg"))):
        path = root / folders[number % len(folders)] / sample.name
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.append(shutil.copy(sample, path))
    return paths


def strange(root: Path) -> list[Path]:
    """Files that cannot be read, under names that are odd, and links that lead nowhere, or back."""
    before = set(root.iterdir())
    first = next(root.glob("[a-e]*.jpg"))
    (root / "empty.png").touch()
    (root / "text.jpg").write_text("This is a text.\n" * 99)
    (root / "dangling.jpg").symlink_to("nowhere.jpg")
    (root / "itself.jpg").symlink_to("itself.jpg")
    (root / "zeros.jpg").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.jpg")
    (root / "a\nWARNING: line.jpg").write_bytes(b"torn")
    Path(os.fsdecode(os.fsencode(root / "not ") + b"\xff\xfe text.jpg")).write_bytes(b"torn")
    broken = [path for path in root.iterdir() if path not in before]
    (root / "a folder.jpg").mkdir()
    (root / "a folder.jpg" / "cycle").symlink_to(root, target_is_directory=True)
    for name in (
        "with spaces.jpg",
        "two\nlines.jpg",
        "größe_写真_🎨.jpg",
        "lr=0.1,size=[32].jpg",
        "-o.jpg",
        "%s{}.jpg",
    ):
        (root / "a folder.jpg" / name).write_bytes(first.read_bytes())
    return broken


def shown(path: Path) -> str:
    """As a line of the log has it."""
    return f"photographs/{path.name}".replace("\n", r"\n").replace("\udcff\udcfe", r"\udcff\udcfe")


def leaves_nothing(training: CommandProcess) -> None:
    """No worker outlives its training, nor a file that is not whole."""
    deadline = time.monotonic() + 120
    while processes_in_session(training.process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not list(training.stdout.parent.rglob("*.part"))


def lines_of(training: CommandProcess, start: str) -> list[str]:
    return [line for line in training.output().splitlines() if start in line]


@ways
def test_a_training_leaves_out_what_is_broken_and_names_it_once(tally, where: Path, workers: int, cache: str) -> None:
    for number in range(tally.times(1, 2)):
        empty(where)
        good(where / "photographs", ".")
        zoo(where / "photographs", 15, seed=1 + number)
        broken = strange(where / "photographs")
        for path in (where / "photographs").glob("fuzzed*"):
            try:
                read_photograph(path)
            except Exception:
                broken.append(path)
        with tally.injecting("unreadable photographs, broken links and unusual file names", len(broken)):
            words = (*RUN, f"data.workers={workers}", f"data.cache={cache}")
            training = CommandProcess(*words, cwd=where)
            assert training.wait() == 0, training.output()
            assert "Traceback" not in training.output()
            named = sorted(line.partition("Left out ")[2] for line in lines_of(training, "Left out "))
            assert len(named) == len(broken)
            for line, path in zip(named, sorted(broken, key=shown), strict=True):
                assert line.startswith(f"{shown(path)}: ")
            assert lines_of(training, "; left out: ")[-1].endswith(f" {len(broken)} unreadable")
            leaves_nothing(training)


@ways
def test_a_validation_of_broken_photographs_ends_the_training(tally, where: Path, workers: int, cache: str) -> None:
    """With its workers, whom nobody waits for."""
    good(where / "photographs", "train")
    (where / "photographs" / "val").mkdir()
    for number in range(25):
        (where / "photographs" / "val" / f"{number}.jpg").write_bytes(b"torn")
    with tally.injecting("more than a tenth of the photographs cannot be read", times=25):
        training = CommandProcess(*RUN, f"data.workers={workers}", f"data.cache={cache}", cwd=where)
        assert training.wait() == 2, training.output()
        assert "Traceback" not in training.output()
        (said,) = lines_of(training, "colorlab: ")
        assert " of the 226 photographs in photographs cannot be read, more than a tenth; the first is val/" in said
        leaves_nothing(training)


def test_photographs_that_nobody_may_read_are_left_out(tally, where: Path) -> None:
    (where / "closed").mkdir()
    for path in good(where, ".")[:3]:
        path.chmod(0)
    shutil.move(path, where / "closed")
    (where / "closed").chmod(0)
    data = ColorDataModule(str(where), size=32, workers=0)
    with tally.injecting("photographs without read permission", times=3):
        before = os.geteuid()
        os.seteuid(before or NOBODY)
        try:
            batches = list(data.reader("all"))
        finally:
            os.seteuid(before)
        for batch in (*batches, *batches):
            data.note_skipped(batch, data.reader("all").dataset)
        assert len(data.broken) == 3
        assert all("Permission denied" in reason for reason in data.broken.values())
        assert data.summary().endswith("left out: 3 unreadable")


STEP = "colorlab.models.colorizer:Colorizer.training_step"


def during(where: Path, workers: int, cache: str, script: str) -> CommandProcess:
    """A training of three epochs in whose first a shell does something."""
    words = (*RUN, "trainer.max_epochs=3", "test=false", f"data.workers={workers}", f"data.cache={cache}")
    do = partial(subprocess.run, script, shell=True, check=True, cwd=where)
    return CommandProcess(*words, cwd=where, before=partial(at_call, STEP, 3, do=do))


@pytest.mark.faults
@ways
def test_files_are_deleted_and_changed_while_it_trains(tally, where: Path, workers: int, cache: str) -> None:
    """What is in the cache is in the cache."""
    for number in range(tally.times(1, 2)):
        empty(where)
        paths = random.Random(number).sample(good(where / "photographs", "."), 12)
        judged = ColorDataModule(str(where / "photographs")).names["test"]  # which nothing reads
        torn, other, gone = paths[:4], paths[4:8], paths[8:]
        Image.new("RGB", (50, 20), "red").save(where / "red.jpg")
        script = "; ".join(
            [f"truncate -s 200 {path}" for path in torn]
            + [f"cp red.jpg {path}" for path in other]
            + [f"rm {path}" for path in gone]
        )
        with tally.injecting("photographs are deleted or changed during training", times=len(paths)):
            training = during(where, workers, cache, script)
            assert training.wait() == 0, training.output()
            named = {line.partition("Left out ")[2].partition(":")[0] for line in lines_of(training, "Left out ")}
            assert len(named) == len(lines_of(training, "Left out "))
            lost = {f"photographs/{path.name}" for path in (*torn, *gone) if path.name not in judged}
            assert named == (set() if cache == "disk" else lost)
            if cache == "none":
                assert lines_of(training, "; left out: ")[-1].endswith(f" {len(lost)} unreadable")
            leaves_nothing(training)


@ways
@pytest.mark.parametrize(
    "what",
    ["photographs", *(pytest.param(name, marks=pytest.mark.faults) for name in ("photographs/train", "the disk"))],
)
def test_a_folder_vanishes_while_it_trains(tally, where: Path, workers: int, cache: str, what: str) -> None:
    good(where / "photographs", "train", "train", "train", "val")
    folder, elsewhere = where / what.replace("the disk", "photographs"), where / "elsewhere"
    script = f"mv {folder} {elsewhere}"
    if what == "the disk":  # where it was mounted, a folder is left
        script += f" && mkdir {folder}"
    with tally.injecting("the folder of photographs disappears during training"):
        training = during(where, workers, cache, script)
        code = training.wait()
        leaves_nothing(training)
        assert "Traceback" not in training.output()
        if cache == "disk":
            assert code == 0
            return
        (said,) = lines_of(training, "colorlab: ")
        if what == "photographs/train":
            assert " of the 201 photographs in photographs cannot be read, more than a tenth;" in said
        else:
            assert said == "colorlab: data.root=photographs has vanished, or is empty: is its disk still there?"
        assert code == 2
        assert RunFolder(where / "run").status()["error"] == "UserError"
        folder.rmdir() if what == "the disk" else None
        elsewhere.rename(folder)
        again = CommandProcess(*RUN, cwd=where)
        assert again.wait() == 0, again.output()
