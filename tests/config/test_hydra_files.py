"""Configuration files in a folder of the user's: what they may set of Hydra's settings, and what they may not."""

import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from colorlab import plugins
from colorlab.config import conf_folder
from colorlab.config.hydra_files import SWITCHES, UserFiles, read_user_files_as_data
from colorlab.errors import UserError

EVIL = "{_target_: os.system, command: 'touch canary'}"
SETTINGS = [
    f"callbacks: {{x: {EVIL}}}", f"launcher: {EVIL}", "launcher: {setup: ['touch canary']}", "launcher: {python: evil}",
    "sweeper: {_target_: mine.Sweeper}", 'launcher: {partition: "gpu\\n#SBATCH --wrap=evil"}',
    "job: {env_set: {LD_PRELOAD: evil.so}}", "job_logging: {handlers: {file: {(): os.system, command: touch canary}}}",
    "job_logging: {root: {handlers: [x]}}", "hydra_logging: {formatters: {simple: {(): os.system}}}",
    "searchpath: ['file:///tmp']", "job: {chdir: true}", "sweeper: {params: {hydra.job.env_set.X: 1}}",
    "sweeper: {params: {+a@hydra.callbacks: b}}", "launcher: {additional_parameters: {wrap: 1}}", "output_subdir: ../x",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "experiment").mkdir()
    return tmp_path


def composed(folder: Path, *words: str, primary: bool = False) -> DictConfig:
    """Compose the configuration of a training as a command with `--config-dir` does, with Hydra's own settings."""
    read_user_files_as_data()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(folder if primary else conf_folder()), version_base="1.3"):
        path = [] if primary else [f"hydra.searchpath=[file://{folder}]"]
        return compose("train", [*path, *words], return_hydra_config=True)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(exist_ok=True, parents=True)
    file.write_text(text)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_users_file_cannot_set_what_starts_programs(folder: Path, setting: str) -> None:
    write(folder / "experiment/evil.yaml", f"# @package _global_\nhydra: {{{setting}}}\n")
    with pytest.raises(UserError, match=r"experiment/evil: hydra\..* must be typed on the command line"):
        composed(folder, "experiment=evil")


@pytest.mark.parametrize("key", SWITCHES)
def test_a_users_file_only_turns_off_what_starts_no_programs_but_names_files(folder: Path, key: str) -> None:
    for value in ("null", "false", "elsewhere"):
        write(folder / "mine.yaml", f"hydra: {{{key.replace('.', ': {')}: {value}}}" + "}" * key.count("."))
        files = UserFiles("main", f"file://{folder}")
        if value == "elsewhere":
            with pytest.raises(UserError, match=rf"mine: hydra\.{key} .*, since a .* file may set it only to null or"):
                files.load_config("mine")
        else:
            assert "hydra" in files.load_config("mine").config


def test_a_file_without_hydras_folder_of_outputs_is_composed(folder: Path) -> None:
    write(folder / "experiment/mine.yaml", "# @package _global_\nhydra: {output_subdir: null, job: {chdir: false}}\n")
    assert composed(folder, "experiment=mine").hydra.output_subdir is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("experiment/evil.yaml", f"# @package hydra.callbacks\nx: {EVIL}\n"),
        ("experiment/evil.yaml", f"# @package _global_.hydra.callbacks\nx: {EVIL}\n"),
        ("experiment/evil.yaml", "# @package _global_\ndefaults: [/more@hydra.callbacks: x]\n"),
        ("experiment/evil.yaml", "# @package _global_\ndefaults: [/more/x@_global_.hydra.callbacks]\n"),
        ("experiment/evil.yaml", "# @package _global_\ndefaults: [/more@_global_: y]\n"),
        ("experiment/evil.yaml", "# @package _global_\ndefaults: [override /hydra/job_logging: z]\n"),
        ("experiment/evil.yaml", "# @package _global_\ndefaults: [override /hydra/launcher: joblib]\n"),
        ("experiment/evil.yaml", "# @package _global_\ndefaults: [/hydra/callbacks: z]\n"),
        ("model/evil.yaml", "# @package _global_\ndefaults: [/hydra@_global_: z]\n"),
    ],
)
def test_a_users_file_is_not_put_among_hydras_settings(folder: Path, file: str, text: str) -> None:
    write(folder / file, text)
    write(folder / "more/x.yaml", f"evil: {EVIL}\n")
    write(folder / "more/y.yaml", f"hydra: {{callbacks: {{evil: {EVIL}}}}}\n")
    for name in ("job_logging/z", "callbacks/z", "launcher/joblib", "z"):
        write(folder / f"hydra/{name}.yaml", f"evil: {EVIL}\n")
    with pytest.raises(UserError, match="must be typed on the command line"):
        composed(folder, f"{Path(file).parent}=evil")


def test_a_users_file_sets_folders_limits_and_choices(folder: Path) -> None:
    write(
        folder / "experiment/mine.yaml",
        "# @package _global_\n"
        "defaults: [override /hydra/job_logging: stdout, override /hydra/launcher: ray]\n"
        "optim: {lr: 0.5}\n"
        "hydra: {run: {dir: 'my runs/${now:%Y}'}, sweep: {dir: s, subdir: '${hydra.job.num}'}, verbose: true,"
        " launcher: {remote: {num_gpus: 1}}, sweeper: {params: {optim.lr: '1,2'}}}\n",
    )
    cfg = composed(folder, "experiment=mine")
    assert cfg.hydra.sweep.dir == "s"
    assert cfg.optim.lr == 0.5
    assert cfg.hydra.runtime.choices["hydra/job_logging"] == "stdout"


def test_a_copy_of_colorlabs_own_configuration_is_data_until_it_is_changed(folder: Path) -> None:
    copy = folder / "conf"
    shutil.copytree(conf_folder(), copy)
    assert (
        composed(copy, "trainer=slurm", primary=True).hydra.callbacks.sweep._target_ == "colorlab.sweeps.report.Sweep"
    )
    text = (copy / "train.yaml").read_text()
    write(copy / "train.yaml", text.replace("colorlab.sweeps.report.Sweep", "mine.Sweep"))
    with pytest.raises(UserError, match=r"train: hydra\.callbacks\.sweep\._target_ must be typed"):
        composed(copy, primary=True)


def test_what_is_typed_and_what_a_plugin_brings_is_taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        folder / "experiment/theirs.yaml", "# @package _global_\nhydra: {callbacks: {x: {_target_: theirs.Callback}}}\n"
    )
    monkeypatch.setattr(plugins, "conf_folders", lambda: {"theirs": folder})
    assert composed(folder, "experiment=theirs").hydra.callbacks.x._target_ == "theirs.Callback"
    monkeypatch.setattr(plugins, "conf_folders", dict)
    typed = composed(folder, "+hydra.callbacks.x._target_=theirs.Callback", "hydra/launcher=basic")
    assert typed.hydra.callbacks.x._target_ == "theirs.Callback"
