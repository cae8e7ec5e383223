"""Corrupt image files, and a folder of photographs that changes during training."""

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
from colorlab.data.splits import SAMPLES
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
"""A user without privileges: file permissions do not restrict root."""

ways = pytest.mark.parametrize(
    ("workers", "cache"),
    [(2, "none"), *(pytest.param(*way, marks=pytest.mark.faults) for way in ((0, "none"), (0, "disk"), (2, "disk")))],
)


# -- corrupt files -----------------------------------------------------------------------------------


def encoded_variants(picture: Image.Image) -> list[bytes]:
    """Encode the picture as several variants of JPEG and PNG."""
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
    """Truncate the file or flip random bits of it; sometimes correct the checksums of a PNG afterwards."""
    if chance.random() < 0.3:
        return content[: chance.randrange(1, len(content))]
    torn = bytearray(content)
    reach = min(len(torn), HEAD) if chance.random() < 0.5 else len(torn)
    for _ in range(chance.choice((1, 4, 30))):
        torn[chance.randrange(2, reach)] ^= 1 << chance.randrange(8)
    return with_right_checksums(torn) if content.startswith(PNG) and chance.random() < 0.7 else bytes(torn)


def with_right_checksums(png: bytearray) -> bytes:
    """Correct the checksums of a PNG, so that the decoder reads the corrupt data."""
    place = 8
    while place + 12 <= len(png):
        end = place + 8 + int.from_bytes(png[place : place + 4])
        if end + 4 > len(png):
            break
        png[end : end + 4] = zlib.crc32(png[place + 4 : end]).to_bytes(4)
        place = end + 4
    return bytes(png)


def write_fuzzed_files(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Write `count` fuzzed files, which depend on the seed only."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    samples, paths = sorted(SAMPLES.glob("*.jpg")), []
    while len(paths) < count:
        with Image.open(chance.choice(samples)) as picture:
            for content in encoded_variants(picture.convert("RGB").resize((90, 70))):
                kind = "png" if content.startswith(PNG) else "jpg"
                paths.append(folder / f"fuzzed{len(paths):03d}.{kind}")
                paths[-1].write_bytes(fuzzed(content, chance))
    for path in paths[count:]:
        path.unlink()
    return paths[:count]


def read_all(paths: list[Path], outcome: Path) -> None:
    """Write a line for each file, as soon as it has been read or refused."""
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


def test_fuzzed_files_are_read_or_refused(tally, tmp_path: Path) -> None:
    """The files are read in another process, so that a crash or an endless loop is noticed."""
    count = tally.times(44, 660)
    paths, outcome = write_fuzzed_files(tmp_path / "fuzzed", count), tmp_path / "outcome"
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


# -- training on such folders ------------------------------------------------------------------------


@pytest.fixture
def where() -> Iterator[Path]:
    """Return a temporary folder that other users may read; pytest's folders are private."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o777)
        yield path


def empty(folder: Path) -> None:
    """Remove everything in the folder."""
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def copy_samples(root: Path, *folders: str) -> list[Path]:
    """Copy the built-in photographs into these folders and return their paths."""
    paths = []
    for number, sample in enumerate(sorted(SAMPLES.glob("*.jpg"))):
        path = root / folders[number % len(folders)] / sample.name
        path.parent.mkdir(parents=True, exist_ok=True)
        paths.append(shutil.copy(sample, path))
    return paths


def write_unreadable_files(root: Path) -> list[Path]:
    """Write unreadable files, broken links and files with unusual names; return those that cannot be read."""
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
    """Return the path as the log shows it."""
    return f"photographs/{path.name}".replace("\n", r"\n").replace("\udcff\udcfe", r"\udcff\udcfe")


def assert_leaves_nothing(training: CommandProcess) -> None:
    """Assert that no worker process and no temporary file is left."""
    deadline = time.monotonic() + 120
    while processes_in_session(training.process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not list(training.stdout.parent.rglob("*.part"))


def lines_with(training: CommandProcess, text: str) -> list[str]:
    return [line for line in training.output().splitlines() if text in line]


@ways
def test_unreadable_photographs_are_left_out_and_named_once(tally, where: Path, workers: int, cache: str) -> None:
    for number in range(tally.times(1, 2)):
        empty(where)
        copy_samples(where / "photographs", ".")
        write_fuzzed_files(where / "photographs", 15, seed=1 + number)
        broken = write_unreadable_files(where / "photographs")
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
            named = sorted(line.partition("Left out ")[2] for line in lines_with(training, "Left out "))
            assert len(named) == len(broken)
            for line, path in zip(named, sorted(broken, key=shown), strict=True):
                assert line.startswith(f"{shown(path)}: ")
            assert lines_with(training, "; left out: ")[-1].endswith(f" {len(broken)} unreadable")
            assert_leaves_nothing(training)


@ways
def test_training_ends_if_the_validation_photographs_cannot_be_read(
    tally, where: Path, workers: int, cache: str
) -> None:
    copy_samples(where / "photographs", "train")
    (where / "photographs" / "val").mkdir()
    for number in range(25):
        (where / "photographs" / "val" / f"{number}.jpg").write_bytes(b"torn")
    with tally.injecting("more than a tenth of the photographs cannot be read", times=25):
        training = CommandProcess(*RUN, f"data.workers={workers}", f"data.cache={cache}", cwd=where)
        assert training.wait() == 2, training.output()
        assert "Traceback" not in training.output()
        (said,) = lines_with(training, "colorlab: ")
        assert " of the 226 photographs in photographs cannot be read, more than a tenth; the first is val/" in said
        assert_leaves_nothing(training)


def test_photographs_without_read_permission_are_left_out(tally, where: Path) -> None:
    (where / "closed").mkdir()
    for path in copy_samples(where, ".")[:3]:
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
            data.skipped.note(batch, data.reader("all").dataset)
        assert len(data.skipped.unreadable) == 3
        assert all("Permission denied" in reason for reason in data.skipped.unreadable.values())
        assert data.summary().endswith("left out: 3 unreadable")


STEP = "colorlab.models.colorizer:Colorizer.training_step"


def train_with_script(where: Path, workers: int, cache: str, script: str) -> CommandProcess:
    """Train for three epochs and run a shell script during the first."""
    words = (*RUN, "trainer.max_epochs=3", "test=false", f"data.workers={workers}", f"data.cache={cache}")
    do = partial(subprocess.run, script, shell=True, check=True, cwd=where)
    return CommandProcess(*words, cwd=where, before=partial(at_call, STEP, 3, do=do))


@pytest.mark.faults
@ways
def test_photographs_deleted_or_changed_during_training_are_left_out(
    tally, where: Path, workers: int, cache: str
) -> None:
    """With a disk cache, the cached photographs are used."""
    for number in range(tally.times(1, 2)):
        empty(where)
        paths = random.Random(number).sample(copy_samples(where / "photographs", "."), 12)
        judged = ColorDataModule(str(where / "photographs")).names["test"]  # not read during training
        torn, other, gone = paths[:4], paths[4:8], paths[8:]
        Image.new("RGB", (50, 20), "red").save(where / "red.jpg")
        script = "; ".join(
            [f"truncate -s 200 {path}" for path in torn]
            + [f"cp red.jpg {path}" for path in other]
            + [f"rm {path}" for path in gone]
        )
        with tally.injecting("photographs are deleted or changed during training", times=len(paths)):
            training = train_with_script(where, workers, cache, script)
            assert training.wait() == 0, training.output()
            named = {line.partition("Left out ")[2].partition(":")[0] for line in lines_with(training, "Left out ")}
            assert len(named) == len(lines_with(training, "Left out "))
            lost = {f"photographs/{path.name}" for path in (*torn, *gone) if path.name not in judged}
            assert named == (set() if cache == "disk" else lost)
            if cache == "none":
                assert lines_with(training, "; left out: ")[-1].endswith(f" {len(lost)} unreadable")
            assert_leaves_nothing(training)


@ways
@pytest.mark.parametrize(
    "what",
    ["photographs", *(pytest.param(name, marks=pytest.mark.faults) for name in ("photographs/train", "the disk"))],
)
def test_training_ends_if_its_folder_disappears(tally, where: Path, workers: int, cache: str, what: str) -> None:
    copy_samples(where / "photographs", "train", "train", "train", "val")
    folder, elsewhere = where / what.replace("the disk", "photographs"), where / "elsewhere"
    script = f"mv {folder} {elsewhere}"
    if what == "the disk":  # an empty folder remains at the mount point
        script += f" && mkdir {folder}"
    with tally.injecting("the folder of photographs disappears during training"):
        training = train_with_script(where, workers, cache, script)
        code = training.wait()
        assert_leaves_nothing(training)
        assert "Traceback" not in training.output()
        if cache == "disk":
            assert code == 0
            return
        (said,) = lines_with(training, "colorlab: ")
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
