"""The trackers: one run is logged to wandb (offline), tensorboard and mlflow, and read back with their own tools."""

import glob
import io
import json
import os
import shlex
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from colorlab.config import conf_folder
from colorlab.dashboard import make_workspace
from colorlab.errors import UserError
from colorlab.library_internals import workspace_json
from colorlab.loggers import mlflow_logger, wandb_logger
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.command_process import run_forked
from support.commands import WITH_PICTURES, run_command
from support.mlflow_server import mlflow_server
from support.wandb_server import WandbServer

if TYPE_CHECKING:  # a second to import, for one worker of xdist
    from mlflow import MlflowClient
    from mlflow.entities import Run

EACH_EPOCH = {
    "train/loss", "val/loss", "val/psnr", "val/psnr_gray", "val/ssim", "val/ciede2000", "val/colorfulness",
    "val/colorfulness_true", "optim/lr", "optim/weight_decay", "optim/decays", "speed/images_per_second",
}  # fmt: skip
AT_THE_END = {name.replace("val/", "test/") for name in EACH_EPOCH if name.startswith("val/")}


def test_only_the_first_of_several_processes_names_the_wandb_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM and torchrun start all processes at once."""
    folder = RunFolder(tmp_path / "run")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    other = wandb_logger(str(folder.path))
    other.log_metrics({"epoch": 0, "val/loss": 1.0})
    assert (other.version, folder.path.exists()) == (None, False)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    assert wandb_logger(str(folder.path)).version == wandb_logger(str(folder.path)).version
    assert [file.name for file in folder.path.iterdir()] == ["wandb_id"]


# -- wandb, tensorboard and mlflow -------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a real mlflow server, and return its address."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as (address, _):
        yield address


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory, server: str) -> SimpleNamespace:
    """Train a run with three trackers at once, without a wandb login."""
    where = tmp_path_factory.mktemp("tracked")
    small = [word for word in WITH_PICTURES if not word.startswith(("logger", "test"))]
    trackers = ("logger=[wandb,tensorboard,mlflow]", f"logger.mlflow.uri={server}")
    words = [*small, *trackers, "run.tags=[a,b]", "run.group=g", "run.notes='a note'"]
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("WANDB_MODE")
        environment.delenv("WANDB_API_KEY", raising=False)
        environment.setenv("NETRC", str(where / "nobody"))
        done = run_command("train", *words, "hydra.run.dir=run", cwd=where)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=RunFolder(where / "run"), out=done.stdout, server=server)


@pytest.fixture(scope="module")
def resumed(tracked: SimpleNamespace) -> SimpleNamespace:
    """Resume the run for one more epoch, without a test."""
    where = tracked.folder.path.parent
    words = ("resume=run", "trainer.max_epochs=3", "logger=[wandb,mlflow]", "test=false")
    done = run_command("train", *words, cwd=where)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=tracked.folder, out=done.stdout, server=tracked.server)


def wandb(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run wandb's own command, and return what it printed."""
    done = run_forked(Path(sys.executable).with_name("wandb"), *map(str, words), cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def parts(folder: RunFolder) -> list[Path]:
    """Return the folders that each training of a run left for `wandb sync`, in order."""
    return sorted((folder.path / "wandb").glob("offline-run-*"))


@lru_cache
def summary(part: Path) -> dict[str, Any]:
    return json.loads(wandb("leet", "inspect", "--summary", "--json", part, cwd=part.parents[2]))


@lru_cache
def log_of(part: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in wandb("leet", "inspect", "--json", part, cwd=part.parents[2]).splitlines()]


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


def test_wandb_plots_metrics_and_pictures_over_epochs_and_keeps_the_best_values(tracked: SimpleNamespace) -> None:
    part = parts(tracked.folder)[0]
    defined = {record["name"]: record for record in records(part, "metric") if "name" in record}
    for name in EACH_EPOCH | AT_THE_END | {"pictures/val", "pictures/test"}:
        assert defined[name]["step_metric"] == "epoch", name
    rows = [record["item"] for record in records(part, "history")]
    assert all("epoch" in row for row in rows)
    found, metrics = summary(part)["summary"], read_metrics(tracked.folder)
    for name, best in (("loss", min), ("psnr", max), ("ssim", max), ("ciede2000", min)):
        course = list(metrics[f"val/{name}"].values())
        assert found[f"val/{name}"] == pytest.approx({best.__name__: best(course), "last": course[-1]}), name


def test_the_dashboard_shows_only_what_a_run_logs(tracked: SimpleNamespace) -> None:
    part = parts(tracked.folder)[0]
    logged = {name for record in records(part, "history") for name in record["item"]}
    found = summary(part)
    logged |= {
        f"{name}.{kind}" for name, value in found["summary"].items() if isinstance(value, dict) for kind in value
    }
    config = {f"{group}.{key}" for group, value in found["config"].items() if isinstance(value, dict) for key in value}
    view = json.loads(workspace_json(make_workspace("fish", "team")))
    panels = [
        panel["config"] for each in view["spec"]["section"]["panelBankConfig"]["sections"] for panel in each["panels"]
    ]
    for panel in panels:
        for name in (*panel.get("metrics", []), *([panel["targetKey"]] if "targetKey" in panel else [])):
            assert name in logged, name
        for name in panel.get("mediaKeys", []):
            assert f"{name}.filenames" in logged, name
        accessors = [panel.get("xAxis"), panel.get("yAxis"), *(each["accessor"] for each in panel.get("columns", []))]
        for kind, _, name in (accessor.partition(":") for accessor in accessors if accessor and ":" in accessor):
            assert name.replace(".value", "") in (config if kind == "config" else logged), name


def test_wandb_has_the_pictures(tracked: SimpleNamespace) -> None:
    part, comparison = parts(tracked.folder)[0], tracked.folder.comparison
    for split, sheets in (("val", ["epoch000.png", "epoch001.png"]), ("test", ["test.png"])):
        files = [file for (file,) in history(part, f"pictures/{split}.filenames")]
        for file, sheet in zip(files, sheets, strict=True):
            assert Image.open(part / "files" / file).tobytes() == Image.open(comparison / sheet).tobytes()


def test_wandb_has_the_configuration_and_the_name_and_size_of_the_model(tracked: SimpleNamespace) -> None:
    config = summary(parts(tracked.folder)[0])["config"]
    expected = yaml.safe_load(tracked.folder.config.read_text())
    expected["model"] |= {
        "name": "cunet",
        "parameters": sum(weights.numel() for weights in CUNet(width=4).parameters()),
    }
    assert {key: config[key] for key in expected} == expected


def test_wandb_has_project_name_group_tags_and_notes(tracked: SimpleNamespace) -> None:
    (run,) = records(parts(tracked.folder)[0], "run")
    assert run["tags"] == ["a", "b"]
    assert (run["project"], run["display_name"], run["run_group"], run["notes"]) == ("colorlab", "run", "g", "a note")


def test_the_wandb_summary_names_the_best_checkpoint(tracked: SimpleNamespace) -> None:
    found = summary(parts(tracked.folder)[0])
    losses = read_metrics(tracked.folder)["val/loss"]
    best = min(losses, key=losses.get)
    assert Path(found["summary"]["best/checkpoint"]).name.startswith(f"cunet_epoch{best:03d}_")
    assert Path(found["summary"]["best/checkpoint"]).is_file()
    assert found["summary"]["best/loss"] == pytest.approx(losses[best])
    assert (found["state"], found["exit_code"]) == ("finished", 0)


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


def mlflow_run(tracked: SimpleNamespace) -> tuple["MlflowClient", "Run"]:
    from mlflow import MlflowClient

    client = MlflowClient(tracked.server)
    return client, client.get_run(tracked.folder.mlflow_id.read_text())


def test_mlflow_has_the_numbers_the_configuration_and_the_pictures(tracked: SimpleNamespace, tmp_path: Path) -> None:
    client, run = mlflow_run(tracked)
    for name, course in read_metrics(tracked.folder).items():
        found = client.get_metric_history(run.info.run_id, name)[: len(course)]  # the resumed part comes after
        assert [each.value for each in found] == pytest.approx(list(course.values())[: len(found)]), name
        assert found, name
    assert run.info.run_name == "run", "the name of its folder"
    assert run.data.params["optim/lr"] == "0.001"
    assert run.data.params["model/name"] == "cunet"
    assert client.get_experiment(run.info.experiment_id).name == "colorlab"
    files = [Path(each.path) for each in client.list_artifacts(run.info.run_id, "images")]
    for split, sheet in (("val", "epoch000.png"), ("test", "test.png")):
        shown = min(path for path in files if path.name.startswith(f"pictures~{split}") and path.suffix == ".png")
        with Image.open(client.download_artifacts(run.info.run_id, str(shown), str(tmp_path))) as picture:
            assert picture.tobytes() == Image.open(tracked.folder.comparison / sheet).tobytes()


def test_the_run_folder_has_the_addresses_of_its_trackers(tracked: SimpleNamespace) -> None:
    """An offline wandb run has no address."""
    _, run = mlflow_run(tracked)
    place = f"experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    assert json.loads(tracked.folder.trackers.read_text()) == {"mlflow": f"{tracked.server}/#/{place}"}


def test_an_unreachable_mlflow_server_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"logger\.mlflow\.uri=http://127\.0\.0\.1:9 does not answer"):
        mlflow_logger(str(tmp_path), uri="http://127.0.0.1:9")


# -- resumed -----------------------------------------------------------------------------------------


def test_a_resume_continues_the_same_wandb_run(tracked: SimpleNamespace, resumed: SimpleNamespace) -> None:
    before, after = parts(resumed.folder)
    ((first,), (second,)) = (records(part, "run") for part in (before, after))
    assert first["run_id"] == second["run_id"] == resumed.folder.wandb_id.read_text()
    assert second["resume"] is True
    losses = list(read_metrics(resumed.folder)["val/loss"].values())
    assert history(before, "val/loss") + history(after, "val/loss") == pytest.approx(losses)
    assert len(losses) == 3


def test_a_resume_continues_the_same_mlflow_run(resumed: SimpleNamespace) -> None:
    """It keeps the parameters of the start, because mlflow never changes one."""
    client, run = mlflow_run(resumed)
    losses = [each.value for each in client.get_metric_history(run.info.run_id, "val/loss")]
    assert losses == pytest.approx(list(read_metrics(resumed.folder)["val/loss"].values()))
    assert len(client.search_runs([run.info.experiment_id])) == 1
    assert run.data.params["trainer/max_epochs"] == "2"
    assert run.info.status == "FINISHED"


@pytest.mark.parametrize("name", ["tracked", "resumed"])
def test_an_offline_run_ends_with_the_command_that_uploads_all_of_it(name: str, request: pytest.FixtureRequest) -> None:
    """The printed command finds every part of the run when it is run in the same folder."""
    run = request.getfixturevalue(name)
    (line,) = (line for line in run.out.splitlines() if "wandb sync" in line)
    _, *words = shlex.split(line[line.index("wandb sync") :])
    where = run.folder.path.parent
    words = [found for word in words for found in (glob.glob(word, root_dir=where) or [word])]
    output = wandb(*words, "--dry-run", cwd=where)
    sent = {(where / word).resolve().parent for word in output.split() if word.endswith(".wandb")}
    assert sent >= set(parts(run.folder)[: 1 if name == "tracked" else 2])


# -- wandb's agents ----------------------------------------------------------------------------------


def test_a_wandb_agent_trains_the_values_of_the_sweep_and_its_run_belongs_to_the_sweep(
    wandb_server: WandbServer, tmp_path: Path
) -> None:
    """Run the real `wandb sweep` and `wandb agent` with conf/wandb_sweep.yaml and overrides for a small run."""
    sweep = yaml.safe_load((conf_folder() / "wandb_sweep.yaml").read_text())
    small = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in WITH_PICTURES)}
    fixed = {key: value for key, value in small.items() if key not in ("model", "logger")} | {"debug": True}
    sweep["parameters"] |= {key: {"value": value} for key, value in fixed.items()}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    drawn = {"model": "cunet", "schedule": "staged", "optim.lr": 0.00321, "optim.weight_decay": 1e-05}
    assert set(drawn) == set(sweep["parameters"]) - set(fixed)
    wandb_server.draws = [drawn | fixed]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where the agent looks for Python
    surroundings = wandb_server.environment(tmp_path) | {"PATH": path}
    output = wandb("sweep", "sweep.yaml", cwd=tmp_path, env=surroundings)
    assert "wandb agent team/colorlab/sweep1" in output
    wandb("agent", "team/colorlab/sweep1", cwd=tmp_path, env=surroundings)
    folder = RunFolder(tmp_path / "runs" / "wandb" / "sweep1" / "run0")
    assert folder.status()["status"] == "done"
    assert folder.checkpoints.best().name.startswith("cunet_epoch000_loss")
    assert folder.wandb_id.read_text() == "run0"
    config = yaml.safe_load(folder.config.read_text())
    assert config["schedule"]["_target_"] == "colorlab.schedules.Staged"
    assert (config["optim"]["lr"], config["optim"]["weight_decay"]) == (0.00321, 1e-05)
    begun = wandb_server.runs[0]
    assert (begun["name"], begun["project"], begun["sweep"]) == ("run0", "colorlab", "sweep1")
    assert {run["name"] for run in wandb_server.runs} == {"run0"}
    summary = json.loads(wandb_server.files["wandb-summary.json"])
    assert summary["val/loss"]["min"] == pytest.approx(read_metrics(folder)["val/loss"][0])
