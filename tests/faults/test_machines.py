"""Real machines: commands that start at once, few open files, no home folder, requests that come too late."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from colorlab.data.splits import SAMPLES
from colorlab.runs.folder import RunFolder
from support.command_process import CommandProcess
from support.commands import SMALL, run_command
from support.fault_injection import at_call, kill_during_file_write, limit_open_files, stop_clock
from support.runs import train_undisturbed

SHORT = (*SMALL, "debug=true")
ALBUM = ("album", "-o", "new", "--size", "32")


def test_commands_that_start_in_the_same_second_get_folders_of_their_own(tally, tmp_path: Path) -> None:
    clock = partial(at_call, "hydra._internal.hydra:setup_globals", 1, after=True, do=stop_clock)
    with tally.injecting("two runs are started in the same second"):
        started = [CommandProcess(*SHORT, cwd=tmp_path, before=clock, stdout=f"printed{n}") for n in range(2)]
        for training in started:
            assert training.wait() == 0, training.output()
        runs = sorted(tmp_path.glob("runs/*/*"))
        assert [run.name for run in runs] == ["12-00-00_cunet", "12-00-00_cunet_2"]
        assert [RunFolder(run).status()["status"] for run in runs] == ["done", "done"]
        assert len({RunFolder(run).status()["pid"] for run in runs}) == 2


@pytest.mark.parametrize("sweep", [False, pytest.param(True, marks=pytest.mark.faults)])
def test_a_refused_command_leaves_no_folder(tally, tmp_path: Path, sweep: bool) -> None:
    with tally.injecting("a run is refused before it trains, alone or in a sweep"):
        words = ("-m", "seed=1,2") if sweep else ()
        done = run_command("train", *words, *SHORT, "optim.lr=abc", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.strip().splitlines()[-1].endswith("optim.lr=abc must be a number.")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.faults), 2])
def test_few_open_files_are_enough_or_named(tally, tmp_path: Path, workers: int) -> None:
    with tally.injecting("no more than 30 files can be open, as after ulimit -n 30"):
        words = (*SMALL, f"data.workers={workers}", "hydra.run.dir=run")
        training = CommandProcess(*words, cwd=tmp_path, before=partial(limit_open_files, 30))
        code, said = training.wait(), training.output()
        if workers:
            assert code == 2, said
            (line,) = said.splitlines()
            assert line.startswith("colorlab: data.workers=2 needs more open files than the limit of 30 allows: ulimit")
        else:
            assert code == 0, said


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("setpriv") is None or os.getuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize("home", [(), ("HOME=/",)])
def test_an_unknown_user_without_a_home_folder_trains(tally, home: tuple[str, ...]) -> None:
    """As in a container that was started with `docker run --user 54321`; it may read what root may, and no more."""
    become = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups"]
    become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    environment = [f"PATH={os.environ['PATH']}", f"PYTHONPATH={Path(__file__).parents[2]}", *home]
    small = [word for word in SHORT if word not in ("logger=csv", "callbacks.curves=null")]
    words = (*small, "logger=wandb", "objective=rebalanced_classification", "model.head=bins", "hydra.run.dir=run")
    with (
        tally.injecting("the user is unknown and has no home folder, as in a container"),
        tempfile.TemporaryDirectory() as folder,  # pytest's own lets nobody else in
    ):
        os.chmod(folder, 0o777)
        environment += [f"TMPDIR={folder}"]
        command = [*become, "env", "-i", *environment, sys.executable, "-m", "colorlab.train", *words]
        done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        (line,) = (line for line in done.stderr.splitlines() if line.startswith("colorlab: "))
        assert (
            line == f"colorlab: There is no home folder that can be written to: caches are in {folder}/colorlab-54321."
        )
        assert RunFolder(Path(folder, "run")).curves.exists()
        assert not Path(folder, "~").exists()


def test_a_decay_of_a_finished_run_is_refused_and_not_obeyed_later(tally, tmp_path: Path) -> None:
    run = train_undisturbed(tmp_path, "callbacks=plateau", "callbacks.plateau.patience=null", "debug=true")
    with tally.injecting("a decay is asked of a run that is not running"):
        asked = run_command("decay", "run", cwd=tmp_path)
        assert asked.returncode == 2
        assert asked.stderr.startswith("colorlab: The run in run is not running (done): ")
        run.decay_request.touch()  # by an earlier version
        assert run_command("train", "resume=run", "trainer.max_epochs=2", cwd=tmp_path).returncode == 0
        assert not run.decay_request.exists()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Make an album of 20 small photographs in the working folder of a command."""
    (tmp_path / "album").mkdir()
    with Image.open(SAMPLES / "fishes_fish1.jpg") as photograph:
        for number in range(20):
            photograph.resize((45, 30 + number)).save(tmp_path / "album" / f"{number}.png")
    return tmp_path


def colored_whole(folder: Path) -> bool:
    """Return whether the folder holds the 20 results and nothing else, and each can be decoded."""
    for path in (folder / "new").iterdir():
        with Image.open(path) as picture:
            picture.load()
    return sorted(path.name for path in (folder / "new").iterdir()) == sorted(f"{n}.png" for n in range(20))


def test_an_album_that_was_killed_goes_on(tally, album: Path) -> None:
    with tally.injecting("an album is killed while it is colored, and the command is repeated"):
        killed = CommandProcess(*ALBUM, cwd=album, before=partial(kill_during_file_write, 10), command="colorize")
        assert killed.wait() == -signal.SIGKILL, killed.output()
        before = {path: path.stat() for path in album.glob("new/*.png")}
        assert 0 < len(before) < 20
        again = CommandProcess(*ALBUM, cwd=album, command="colorize")
        assert again.wait() == 0, again.output()
        assert f"finished before: {len(before)} (--force" in again.output()
        assert {path: path.stat() for path in before} == before
        assert colored_whole(album)


def test_two_commands_color_one_album_into_one_folder(tally, album: Path) -> None:
    with tally.injecting("two colorize commands write into one folder at once"):
        both = [CommandProcess(*ALBUM, cwd=album, stdout=f"printed{n}", command="colorize") for n in range(2)]
        for each in both:
            assert each.wait() == 0, each.output()
            assert not [line for line in each.output().splitlines() if line.startswith("colorlab: ")]
        assert colored_whole(album)
