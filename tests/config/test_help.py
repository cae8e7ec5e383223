"""What `--help` and `--version` print."""

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

import colorlab
from colorlab.config import conf_folder
from colorlab.config.help import COMMANDS, GROUPS, help_of
from colorlab.config.words import as_hydra_takes, as_list
from colorlab.evaluate import settings as evaluate
from colorlab.study import settings as study
from colorlab.train.experiment import KEYS
from support.commands import import_command

TOP = {
    "train": KEYS,
    "evaluate": (*evaluate.Settings.__annotations__, *evaluate.GROUPS),
    "study": (*study.Settings.__annotations__, *study.GROUPS),
    "shards": ("out", "megabytes", "short_side", "data", "seed"),
    "prior": ("data", "seed"),
}
"""The top level of each command's configuration."""


def printed_by(name: str, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    """Return what a command prints for an option that asks for a text."""
    monkeypatch.setattr(sys, "argv", [f"colorlab-{name}", word])
    with suppress(SystemExit):  # argparse exits after it has printed, and with 0
        import_command(name).main()
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_screen_and_names_groups_choices_keys_and_the_reference(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    text = printed_by(command, "--help", monkeypatch, capsys)
    lines = text.splitlines()
    assert text == f"{help_of(command, TOP[command])}\n"
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert len([line for line in lines if line.startswith(f"  python -m colorlab.{command} ")]) == 3
    assert "docs/reference.md" in text
    words = text.replace(",", " ").split()
    for key in TOP[command]:
        if (conf_folder() / key).is_dir():
            assert {file.stem for file in (conf_folder() / key).glob("*.yaml")} <= set(words), key
            assert any(word.partition("=")[0] == key for word in words), key
        else:
            assert any(word.strip(".") == key or word.startswith(f"{key}.") for word in words), key


@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_help_can_be_composed(command: str) -> None:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        for example in COMMANDS[command][1:]:
            words = [word for word in example.split() if word not in ("-m", "--report")]
            words = [word.replace("eccv16,cunet", "cunet").replace("1e-3,1e-4", "1e-3") for word in words]
            for key in ("checkpoint", "metrics"):
                words = as_list(words, key)
            assert compose(command, overrides=as_hydra_takes(words, TOP[command]))


def test_help_says_which_choices_are_the_defaults() -> None:
    assert "\n  model=eccv16 " in help_of("train", KEYS)
    assert "\n  experiment " in help_of("train", KEYS), "no experiment is chosen"


def test_help_lists_the_choices_of_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mynet.yaml").touch()
    monkeypatch.setattr("colorlab.plugins.conf_folders", lambda: {"mylab": tmp_path})
    assert "eccv16, mynet, siggraph17" in help_of("train", KEYS)


def test_every_group_has_a_sentence() -> None:
    assert set(GROUPS) == {folder.name for folder in conf_folder().iterdir() if folder.is_dir()}


@pytest.mark.parametrize("name", ["train", "prior", "colorize", "leaderboard"])
def test_the_version_is_that_of_colorlab(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert printed_by(name, "--version", monkeypatch, capsys) == f"colorlab {colorlab.__version__}\n"


def test_shortened_options_are_understood(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    expected = f"{help_of('prior', TOP['prior'])}\n"
    for word in ("-h", "--hel"):
        assert printed_by("prior", word, monkeypatch, capsys) == expected
