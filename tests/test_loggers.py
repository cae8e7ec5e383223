"""Where the numbers of a run go: the CSV file, wandb (offline) and tensorboard, read back by their own tools."""

import csv
import glob
import io
import json
import shlex
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from conftest import SMALL, start
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from colorlab.loggers import MetricsCSV, read_metrics
from colorlab.models import CUNet
from colorlab.run_folder import RunFolder

EACH_EPOCH = {
    "train/loss", "val/loss", "val/psnr", "val/psnr_gray", "val/ssim", "val/ciede2000",
    "val/colorfulness", "val/colorfulness_true", "optim/lr", "optim/weight_decay", "speed/images_per_second",
}  # fmt: skip
AT_THE_END = {name.replace("val/", "test/") for name in EACH_EPOCH if name.startswith("val/")}


# -- metrics.csv -------------------------------------------------------------------------------------


def write(folder: Path, *rows: tuple[int, dict[str, float]]) -> RunFolder:
    """Log rows as one training does, from its start or from a checkpoint."""
    folder.mkdir(exist_ok=True)
    logger = MetricsCSV(str(folder))
    for step, metrics in rows:
        logger.log_metrics(metrics, step)
    logger.finalize("success")
    return RunFolder(folder)


FIRST = (
    (9, {"epoch": 0, "val/loss": 9.0}), (9, {"epoch": 0, "train/loss": 0.25}), (19, {"epoch": 1, "val/loss": 19.0}),
    (29, {"epoch": 2, "val/loss": 29.0}), (29, {"train/loss": 0.5}),
)  # fmt: skip


def test_the_csv_file_has_a_row_an_epoch(tmp_path: Path) -> None:
    folder = write(tmp_path, *FIRST)
    rows = list(csv.DictReader(folder.metrics.open()))
    assert rows == [
        {"epoch": "0", "step": "9", "train/loss": "0.25", "val/loss": "9.0"},
        {"epoch": "1", "step": "19", "train/loss": "", "val/loss": "19.0"},
        {"epoch": "2", "step": "29", "train/loss": "0.5", "val/loss": "29.0"},
    ]
    assert read_metrics(folder) == {"train/loss": {0: 0.25, 2: 0.5}, "val/loss": {0: 9.0, 1: 19.0, 2: 29.0}}


def test_the_csv_file_goes_on_after_a_resume_without_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, *FIRST)
    folder = write(tmp_path, (19, {"epoch": 1, "val/loss": 1.0}), (29, {"epoch": 2, "val/psnr": 2.0}))
    assert read_metrics(folder) == {"train/loss": {0: 0.25}, "val/loss": {0: 9.0, 1: 1.0}, "val/psnr": {2: 2.0}}


def test_epochs_are_whole_numbers_in_the_csv_file_after_a_resume_too(tmp_path: Path) -> None:
    write(tmp_path, *FIRST)
    folder = write(tmp_path, (39, {"epoch": 3, "val/loss": 1.0}))
    assert [row["epoch"] for row in csv.DictReader(folder.metrics.open())] == ["0", "1", "2", "3"]


def test_a_run_that_logged_nothing_leaves_the_csv_file_of_the_run_it_resumed(tmp_path: Path) -> None:
    before = write(tmp_path, *FIRST).metrics.read_bytes()
    assert write(tmp_path).metrics.read_bytes() == before


# -- wandb and tensorboard ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run that two trackers watched, for somebody who is not logged in."""
    where = tmp_path_factory.mktemp("tracked")
    small = [word for word in SMALL if not word.startswith(("logger", "test"))]
    words = [*small, "logger=[wandb,tensorboard]", "run.tags=[a,b]", "run.group=g", "run.notes='a note'"]
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("WANDB_MODE")
        environment.delenv("WANDB_API_KEY", raising=False)
        environment.setenv("NETRC", str(where / "nobody"))
        process = start("train", *words, "hydra.run.dir=run", cwd=where)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return SimpleNamespace(folder=RunFolder(where / "run"), out=out)


@pytest.fixture(scope="module")
def resumed(tracked: SimpleNamespace) -> SimpleNamespace:
    """The same run, an epoch longer; without a test, which says nothing new."""
    where = tracked.folder.path.parent
    process = start("train", "resume=run", "trainer.max_epochs=3", "logger=wandb", "test=false", cwd=where)
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return SimpleNamespace(folder=tracked.folder, out=out)


def wandb(*words: str | Path, cwd: Path) -> str:
    """What wandb's own public command says."""
    command = [Path(sys.executable).with_name("wandb"), *words]
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def parts(folder: RunFolder) -> list[Path]:
    """What each training that went into a run left for `wandb sync`, in their order."""
    return sorted((folder.path / "wandb").glob("offline-run-*"))


def summary(part: Path) -> dict[str, Any]:
    return json.loads(wandb("leet", "inspect", "--summary", "--json", part, cwd=part))


@lru_cache
def log_of(part: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in wandb("leet", "inspect", "--json", part, cwd=part).splitlines()]


def records(part: Path, kind: str) -> list[dict[str, Any]]:
    return [record[kind] for record in log_of(part) if record["type"] == kind]


def history(part: Path, name: str) -> list[float]:
    rows = [record["item"] for record in records(part, "history")]
    return [row[name] for row in rows if name in row]


def test_wandb_has_every_number_of_every_epoch(tracked: SimpleNamespace) -> None:
    part, metrics = parts(tracked.folder)[0], read_metrics(tracked.folder)
    assert metrics.keys() == EACH_EPOCH | AT_THE_END
    for name in EACH_EPOCH | AT_THE_END:
        assert history(part, name) == pytest.approx(list(metrics[name].values())), name
        assert len(metrics[name]) == (2 if name in EACH_EPOCH else 1)


def test_wandb_has_the_pictures(tracked: SimpleNamespace) -> None:
    part, comparison = parts(tracked.folder)[0], tracked.folder.comparison
    for split, sheets in (("val", ["epoch000.png", "epoch001.png"]), ("test", ["test.png"])):
        files = [file for (file,) in history(part, f"pictures/{split}.filenames")]
        for file, sheet in zip(files, sheets, strict=True):
            assert Image.open(part / "files" / file).tobytes() == Image.open(comparison / sheet).tobytes()


def test_wandb_has_the_whole_configuration_and_the_models_name_and_size(tracked: SimpleNamespace) -> None:
    config = summary(parts(tracked.folder)[0])["config"]
    expected = yaml.safe_load(tracked.folder.config.read_text())
    expected["model"] |= {
        "name": "cunet",
        "parameters": sum(weights.numel() for weights in CUNet(width=4).parameters()),
    }
    assert {key: config[key] for key in expected} == expected


def test_wandb_files_the_run_as_asked(tracked: SimpleNamespace) -> None:
    (run,) = records(parts(tracked.folder)[0], "run")
    assert run["tags"] == ["a", "b"]
    assert (run["project"], run["display_name"], run["run_group"], run["notes"]) == ("colorlab", "cunet", "g", "a note")


def test_wandbs_summary_names_the_best_checkpoint(tracked: SimpleNamespace) -> None:
    told = summary(parts(tracked.folder)[0])
    losses = read_metrics(tracked.folder)["val/loss"]
    best = min(losses, key=losses.get)
    assert Path(told["summary"]["best/checkpoint"]).name.startswith(f"cunet_epoch{best:03d}_")
    assert Path(told["summary"]["best/checkpoint"]).is_file()
    assert told["summary"]["best/loss"] == pytest.approx(losses[best])
    assert (told["state"], told["exit_code"]) == ("finished", 0)


def test_tensorboard_has_the_numbers_and_the_pictures(tracked: SimpleNamespace) -> None:
    events = EventAccumulator(str(tracked.folder.path / "tensorboard"))
    events.Reload()
    for name, course in read_metrics(tracked.folder).items():
        assert [event.value for event in events.Scalars(name)] == pytest.approx(list(course.values())), name
    (val, test), comparison = (
        (events.Images(f"pictures/{split}") for split in ("val", "test")),
        tracked.folder.comparison,
    )
    for event, sheet in zip([*val, *test], ["epoch000.png", "epoch001.png", "test.png"], strict=True):
        shown = Image.open(io.BytesIO(event.encoded_image_string))
        assert shown.convert("RGB").tobytes() == Image.open(comparison / sheet).tobytes()


# -- resumed -----------------------------------------------------------------------------------------


def test_a_resumed_run_goes_on_in_the_same_wandb_run(tracked: SimpleNamespace, resumed: SimpleNamespace) -> None:
    before, after = parts(resumed.folder)
    ((first,), (second,)) = (records(part, "run") for part in (before, after))
    assert first["run_id"] == second["run_id"] == resumed.folder.wandb_id.read_text()
    assert second["resume"] is True
    losses = list(read_metrics(resumed.folder)["val/loss"].values())
    assert history(before, "val/loss") + history(after, "val/loss") == pytest.approx(losses)
    assert len(losses) == 3


@pytest.mark.parametrize("name", ["tracked", "resumed"])
def test_the_end_of_an_offline_run_says_how_to_send_all_of_it(name: str, request: pytest.FixtureRequest) -> None:
    """The printed command, in the folder where it was printed, finds every part of the run."""
    run = request.getfixturevalue(name)
    (line,) = (line for line in run.out.splitlines() if "wandb sync" in line)
    _, *words = shlex.split(line[line.index("wandb sync") :])
    where = run.folder.path.parent
    words = [found for word in words for found in (glob.glob(word, root_dir=where) or [word])]
    told = wandb(*words, "--dry-run", cwd=where)
    sent = {(where / word).resolve().parent for word in told.split() if word.endswith(".wandb")}
    assert sent >= set(parts(run.folder)[: 1 if name == "tracked" else 2])
