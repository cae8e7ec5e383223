"""Overrides of an earlier run, repeated by resume= and reproduce=."""

from pathlib import Path

import pytest

from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder
from colorlab.runs.overrides import in_todays_names, with_reproduced_overrides, with_resumed_overrides


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """The folder of a run that has a checkpoint."""
    run = RunFolder(tmp_path / "run")
    run.checkpoints.path.mkdir(parents=True)
    (run.checkpoints.path / "last.ckpt").touch()
    run.write_configuration({}, [])
    return run


def resumed(folder: RunFolder, recorded: list[str], *new: str) -> list[str]:
    """Return what a resume puts before the words of the command."""
    folder.write_configuration({}, recorded)
    words = [f"resume={folder.path}", *new]
    arguments = with_resumed_overrides(words)
    assert arguments[-len(words) - 1 :] == [f"hydra.run.dir='{folder.path}'", *words]
    return arguments[: -len(words) - 1]


def test_new_overrides_replace_recorded_ones(folder: RunFolder) -> None:
    assert resumed(folder, ["++optim.lr=1", "seed=2"], "optim.lr=3") == ["seed=2"]


@pytest.mark.parametrize(
    ("recorded", "today"),
    [
        (["++data.decode=workers", "seed=2"], ["seed=2"]),
        (["++data.cache=ram"], ["++data.cache=disk"]),
        (["++data.cache='ram'"], ["++data.cache=disk"]),
        (["++data.cache=disk"], ["++data.cache=disk"]),
        (["schedule=short_cosine"], ["schedule=recipes/short_cosine"]),
        (["++schedule.epochs=20"], ["++schedule.length=20"]),
    ],
)
def test_overrides_of_earlier_versions_are_translated(folder: RunFolder, recorded: list[str], today: list[str]) -> None:
    assert resumed(folder, recorded) == today


def test_a_checkpoint_without_its_runs_folder_is_resumed_with_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / "saved.ckpt").touch()
    words = [f"resume={tmp_path / 'saved.ckpt'}", "model=cunet"]
    assert with_resumed_overrides(words) == words


def test_a_run_of_another_packages_network_names_the_word_that_allows_it(folder: RunFolder) -> None:
    folder.write_configuration({"model": {"_target_": "mylab.networks.Tiny"}}, ["model=tiny"])
    for command, words in ((with_resumed_overrides, "resume"), (with_reproduced_overrides, "reproduce")):
        with pytest.raises(UserError, match=r"trained with classes of mylab\. If .* add plugins=\[mylab\]"):
            command([f"{words}={folder.path}"])


@pytest.mark.parametrize("word", ["hydra/launcher=joblib", "++oops=1", "model=../../elsewhere", "run.name=${oc.env:X}",
                                  "plugins=[json]", "+plugins=[json]", "--plugins=json"])  # fmt: skip
def test_an_override_that_does_more_than_choose_is_never_repeated(folder: RunFolder, word: str) -> None:
    folder.write_configuration({}, [word])
    for command, words in ((with_resumed_overrides, "resume"), (with_reproduced_overrides, "reproduce")):
        with pytest.raises(UserError, match="is never repeated automatically"):
            command([f"{words}={folder.path}"])


def test_typed_overrides_of_earlier_versions_are_translated_too() -> None:
    typed = ["-m", "schedule=demo", "schedule=cosine,staged", "data.decode=workers", "seed=1"]
    assert in_todays_names(typed) == ["-m", "schedule=recipes/demo", "schedule=cosine,staged", "seed=1"]
