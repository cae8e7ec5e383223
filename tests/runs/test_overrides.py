"""Overrides of an earlier run, repeated by resume= and reproduce=."""

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from colorlab.callbacks.checkpoints import with_own_files
from colorlab.config.words import as_hydra_takes
from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder
from colorlab.runs.overrides import (
    in_todays_names,
    with_recorded_overrides,
    with_reproduced_overrides,
    with_resumed_overrides,
)
from support.runs import forget_the_user


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


@pytest.mark.parametrize("word", ["hydra/launcher=joblib", "++oops=1", "plugins=[json]", "+plugins=[json]",
                                  "--plugins=json", "data@hydra.callbacks.x=samples"])  # fmt: skip
def test_a_word_that_configures_something_else_is_never_repeated(folder: RunFolder, word: str) -> None:
    folder.write_configuration({}, [word])
    for command in (f"resume={folder.path}", f"reproduce={folder.path}"):
        with pytest.raises(UserError, match="is never repeated automatically"):
            with_recorded_overrides([command])


@pytest.mark.parametrize("word", ["model=\0", "++run.notes='a\nb'", "++run.notes='\u3000'"])
def test_a_strangers_word_that_cannot_be_shown_is_never_repeated(folder: RunFolder, word: str) -> None:
    written_by_a_stranger(folder, [word])
    for command in (f"resume={folder.path}", f"reproduce={folder.path}"):
        with pytest.raises(UserError, match="is never repeated automatically"):
            with_recorded_overrides([command])


@pytest.mark.parametrize("text", ["/data/写真\u3000山田", "/data/my\xa0photos", "first line\nsecond line\tx"])
def test_own_words_may_have_any_characters(folder: RunFolder, text: str) -> None:
    (word,) = as_hydra_takes([f"data.root={text}"], ("data",))
    assert OverridesParser.create().parse_override(word).value() == text
    assert resumed(folder, [word]) == [word]
    assert with_recorded_overrides([f"reproduce={folder.path}"])[0] == word


def test_resume_and_reproduce_together_are_refused(folder: RunFolder) -> None:
    with pytest.raises(UserError, match=r"resume= continues a run, reproduce= .*: give only one of them\.$"):
        with_recorded_overrides([f"resume={folder.path}", f"reproduce={folder.path}"])


def test_a_run_that_reproduces_another_is_resumed_without_its_folder(folder: RunFolder) -> None:
    folder.write_configuration({}, ["reproduce=runs/gone", "seed=2"])
    words = [f"resume={folder.path}"]
    again = with_recorded_overrides(words)
    assert again == ["++reproduce=runs/gone", "seed=2", f"hydra.run.dir='{folder.path}'", *words]
    folder.write_configuration({}, again[:2])
    assert with_recorded_overrides(again) == again  # as a further process of the same training is started
    assert with_recorded_overrides(words) == again


def test_options_before_the_word_stay_before_the_recorded_overrides(folder: RunFolder) -> None:
    """Hydra's parser refuses options between overrides."""
    folder.write_configuration({}, ["seed=2"])
    for word in (f"resume={folder.path}", f"reproduce={folder.path}"):
        words = with_recorded_overrides(["--config-dir", "mine", word, "test=false"])
        assert words[:3] == ["--config-dir", "mine", "seed=2"]
        assert words[-2:] == [word, "test=false"]


# -- who has written them ----------------------------------------------------------------------------

FOREIGN = [
    "++data.root='/home/me/photos'", "++data.root=photos", "++data.root=s3://x/y", "++data.roots=[1,{root:/x}]",
    "++data.cache_dir='5'", "++callbacks.best.dirpath=/home/me", "++callbacks.best.dirpath=thesis",
    "++run.name=${oc.env:X}", "++run.name='$x'", "++logger.mlflow.uri=http://evil.example", "experiment=/me/evil",
    "++trainer.profiler={_target_:x}",
    "+logger.evil={_target_:lightning.pytorch.loggers.CSVLogger,save_dir:x}", "++trainer.default_root_dir=007",
    "++trainer.profiler=simple", "++callbacks.x._target_=colorlab.callbacks.speed.Speed", "model=../../elsewhere",
    "++metrics=[psnr,{_target_:mylab.Metric}]", "++model.encoder=hf-hub:a/b",
]  # fmt: skip
HARMLESS = [
    "model=cunet", "logger=[csv,wandb]", "schedule=recipes/demo", "++optim.lr=1e-3", "seed=2", "test=false",
    "+experiment=unet", "++callbacks.best.save_top_k=-1", "~callbacks.comparison", "++callbacks.plateau=null",
    "++optim.betas=[0.5,0.9]", "++metrics=[psnr,ssim]", "++trainer.precision=bf16-mixed",
    "++trainer.max_time='00:01:00:00'",
    "++model.freeze=[decoder.*.norm]", "++callbacks.best.monitor=val/psnr", "++data.cache=disk", "++run.tags=[a,b]",
    "++run.notes='see http://a.example/b: it is better'",
]  # fmt: skip


def written_by_a_stranger(folder: RunFolder, words: list[str], config: dict | None = None) -> RunFolder:
    folder.write_configuration(config or {}, words)
    forget_the_user(folder)
    return folder


@pytest.mark.parametrize("word", [*FOREIGN, *HARMLESS])
def test_what_an_own_run_recorded_is_repeated(folder: RunFolder, word: str) -> None:
    assert resumed(folder, [word]) == [word]
    moved = folder.path.rename(folder.path.with_name("moved"))
    assert word in with_recorded_overrides([f"resume={moved}"])
    assert word in with_recorded_overrides([f"reproduce={moved}"])


@pytest.mark.parametrize("word", FOREIGN)
def test_a_strangers_word_that_names_something_has_to_be_typed(folder: RunFolder, word: str) -> None:
    written_by_a_stranger(folder, ["seed=2", word])
    for command in (f"resume={folder.path}", f"reproduce={folder.path}"):
        with pytest.raises(UserError, match="is never repeated automatically") as refused:
            with_recorded_overrides([command])
        typed = shlex.split(str(refused.value).partition(" want: ")[2])  # ready to paste
        assert [f"++{typed[0]}", *typed][not word.startswith("++") :][0] == word
        assert with_recorded_overrides([command, *typed])[0] == "seed=2"
        assert with_recorded_overrides([command, *typed])[-1] == typed[0]


@pytest.mark.parametrize("word", HARMLESS)
def test_a_strangers_word_that_only_chooses_is_repeated(folder: RunFolder, word: str) -> None:
    written_by_a_stranger(folder, [word])
    assert with_recorded_overrides([f"resume={folder.path}"])[0] == word
    assert with_recorded_overrides([f"reproduce={folder.path}"])[0] == word


def test_overrides_that_were_changed_are_a_strangers(folder: RunFolder) -> None:
    folder.write_configuration({}, ["data.root=photos"])
    file = folder.overrides_file
    file.write_text(file.read_text().replace("photos", "private"))
    with pytest.raises(UserError, match=r"was not written by you .*: data\.root=private$"):
        with_recorded_overrides([f"resume={folder.path}"])


def test_a_resumed_run_keeps_the_name_that_its_configuration_holds(folder: RunFolder) -> None:
    """Earlier versions named a run after its model; today a name of null means that of the folder."""
    folder.write_configuration({"run": {"name": "cunet", "group": None}}, ["seed=2"])
    assert "run.name='cunet'" in with_recorded_overrides([f"resume={folder.path}"])
    assert "run.name='cunet'" not in with_recorded_overrides([f"resume={folder.path}", "run.name=mine"])
    folder.write_configuration({"run": {"name": None, "group": None}}, ["seed=2"])
    assert not [word for word in with_recorded_overrides([f"resume={folder.path}"]) if "run.name" in word]


def test_the_name_in_a_configuration_is_a_text(folder: RunFolder) -> None:
    """It is not sealed, and becomes an override: quotes in it end no text, and a variable is not read."""
    folder.write_configuration({"run": {"name": "it's' x=1", "group": "g"}}, [])
    words = with_recorded_overrides([f"resume={folder.path}"])
    assert words[0] == r"run.name='it\'s\' x=1'"
    folder.write_configuration({"run": {"name": "${oc.env:HOME}", "group": "g"}}, [])
    with pytest.raises(UserError, match="is never repeated automatically"):
        with_recorded_overrides([f"resume={folder.path}"])


@pytest.mark.parametrize(
    "link", ["checkpoints/last.ckpt", "train.log", ".lock", "tensorboard/hparams.yaml", "checkpoints"]
)
def test_a_strangers_folder_with_a_link_out_of_it_is_not_resumed(folder: RunFolder, tmp_path: Path, link: str) -> None:
    other = RunFolder(tmp_path / "other")
    other.write_configuration({}, [])
    other.checkpoints.path.mkdir()
    target = other.checkpoints.path / "last.ckpt"
    target.touch()
    if link == "checkpoints":
        (folder.checkpoints.path / "last.ckpt").unlink()
        folder.checkpoints.path.rmdir()
        target = other.checkpoints.path
    path = folder.path / link
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    forget_the_user(folder)
    given = [folder.path, path] if path.name == "last.ckpt" else [folder.path]
    for place in given:
        with pytest.raises(UserError, match=r"is a link to .*, outside of the run's folder"):
            with_recorded_overrides([f"resume={place}"])


def test_an_own_run_whose_checkpoints_are_on_another_disk_is_resumed(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    scratch = folder.checkpoints.path.rename(tmp_path / "scratch" / "run 7")
    folder.checkpoints.path.symlink_to(scratch)
    folder.write_configuration({}, ["seed=2"])
    for place in (folder.path, folder.checkpoints.path / "last.ckpt"):
        words = [f"resume={place}"]
        assert with_recorded_overrides(words) == ["seed=2", f"hydra.run.dir='{folder.path}'", *words]
    best, other = folder.checkpoints.path / "a_epoch001_loss0.1.ckpt", tmp_path / "scratch" / "other.ckpt"
    best.touch()
    state = {"dirpath": str(folder.checkpoints.path), "best_k_models": {str(best): 1.0, str(other): 2.0},
             "kth_best_model_path": str(other), "best_model_path": str(best), "last_model_path": ""}  # fmt: skip
    kept = with_own_files(state, str(folder.checkpoints.path))
    assert kept["best_k_models"][str(best)] == 1.0
    assert {Path(name).parent for name in kept["best_k_models"]} == {folder.checkpoints.path}


def test_links_inside_a_folder_and_to_it_are_followed(folder: RunFolder, tmp_path: Path) -> None:
    last = folder.checkpoints.path / "last.ckpt"
    last.rename(last.with_name("kept.ckpt"))
    last.symlink_to("kept.ckpt")
    (tmp_path / "link").symlink_to(folder.path)
    (folder.path / "wandb/run-1/logs").mkdir(parents=True)
    (folder.path / "wandb/run-1/logs/debug-core.log").symlink_to("/root/.cache/wandb/logs/1.log")  # as wandb makes it
    for place in (folder.path, last, tmp_path / "link", tmp_path / "link" / "checkpoints" / "last.ckpt"):
        assert with_recorded_overrides([f"resume={place}"])[0] == f"hydra.run.dir='{folder.path}'"


def test_typed_overrides_of_earlier_versions_are_translated_too() -> None:
    typed = ["-m", "schedule=demo", "schedule=cosine,staged", "data.decode=workers", "seed=1"]
    assert in_todays_names(typed) == ["-m", "schedule=recipes/demo", "schedule=cosine,staged", "seed=1"]
