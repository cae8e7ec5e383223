"""Searches with Optuna."""

import multiprocessing
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from PIL import Image

from colorlab.errors import UserError
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.sweeps.report import statuses
from colorlab.sweeps.search import Search
from hydra_plugins.colorlab.optuna_sweeper import distribution_of
from support.command_process import CommandProcess
from support.commands import SMALL, train_exit_code
from support.fault_injection import at_call

SEARCH = (
    "sweep=optuna", *SMALL, "trainer.limit_train_batches=2",
    "callbacks.pruning.warmup=0", "hydra.sweep.dir=search",
)  # fmt: skip
SPACE = {"optim.lr": FloatDistribution(1e-5, 1e-2, log=True)}


def finish_trial(search: Search, status: str, value: float, course: tuple[float, ...] = ()) -> None:
    """Record a run of the search without training it."""
    (trial,) = search.ask()
    for epoch, reported in enumerate(course):
        trial.report(reported, epoch)
    folder = RunFolder(search.folder / f"{trial.number}_run")
    folder.write_configuration({"lr": trial.params["optim.lr"]}, [])
    folder.write_status({"status": status, "started": "before"})
    search.tell(trial, folder, value)


def test_a_killed_search_retries_the_interrupted_trial(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    words = (*SEARCH, "sweep.trials=3", "objective=mse", "callbacks.plateau.patience=5")
    in_the_second = partial(at_call, "lightning.pytorch.core.optimizer:LightningOptimizer.step", 6)
    training = CommandProcess(*words, cwd=tmp_path, before=in_the_second)
    assert training.wait() == -signal.SIGKILL, training.output()
    folder = tmp_path / "search"
    (begun,) = folder.glob("1_*/status.json")
    killed = RunFolder(begun.parent)
    assert killed.status()["status"] == "running"

    monkeypatch.chdir(tmp_path)
    assert train_exit_code(monkeypatch, *words) == 0
    jobs = statuses(folder)
    assert [status["status"] for status in jobs.values()] == ["done", "running", "done", "done"]
    tried = [[word for word in status["overrides"] if "optim." in word] for status in jobs.values()]
    assert tried[1] == tried[2]
    assert len({tuple(words) for words in tried}) == 3

    reached = {name: max(read_metrics(RunFolder(folder / name))["val/psnr"].values())
               for name, status in jobs.items() if status["status"] == "done"}  # fmt: skip
    best = max(reached, key=reached.get)
    output = capsys.readouterr().out
    assert f"search: 3 runs finished, 0 pruned, 0 failed; the best val/psnr is {reached[best]:.5g}, in " in output
    assert (folder / "best.yaml").read_text() == (folder / best / "config.yaml").read_text()
    with Image.open(folder / "study.png") as picture:
        assert picture.size == (1280, 480)  # the history; the slices of lr and weight decay
    assert train_exit_code(monkeypatch, *words) == 0  # nothing is left to do
    assert len(statuses(folder)) == 4

    run = RunFolder(folder / best)
    filed = OmegaConf.load(run.config).run
    assert train_exit_code(monkeypatch, f"resume={run.path}", "trainer.max_epochs=3") == 0  # the run, not the search
    assert sorted(read_metrics(run)["val/psnr"]) == [0, 1, 2]
    assert len(statuses(folder)) == 4
    assert OmegaConf.load(run.config).run == filed
    assert (filed.group, filed.name) == ("search", None), "it is named after its folder"


def test_a_run_worse_than_the_median_is_pruned_not_failed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    search = Search(Path("search"), SPACE, "val/psnr", trials=3, startup=1)
    for _ in range(2):
        finish_trial(search, "done", 50.0, (49.0, 50.0))
    fixed = ("objective=mse", "optim.weight_decay=0", "callbacks.plateau.patience=5", "data.workers=1")
    words = (*SEARCH, *fixed, "sweep.trials=3", "sweep.startup=1")
    others = set(multiprocessing.active_children())  # of earlier tests
    workers = set()  # DataLoader workers that are still running
    monkeypatch.setattr(
        "colorlab.train.__main__.free_memory", lambda: workers.update(set(multiprocessing.active_children()) - others)
    )
    assert train_exit_code(monkeypatch, *words) == 0
    assert not workers
    assert search.study.trials[-1].state is TrialState.PRUNED
    (run,) = Path("search").glob("2_lr*")
    status = RunFolder(run).status()
    assert status["status"] == "pruned"
    assert status["reason"].endswith("after epoch 0, worse than the median")
    assert list(read_metrics(RunFolder(run))["val/psnr"]) == [0]


def test_a_journal_with_a_torn_end_continues_without_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("os.fsync", lambda _: None)  # Optuna's after each line, which takes most of the time
    search = Search(tmp_path, SPACE, "val/loss", trials=3)
    finish_trial(search, "done", 0.5)
    finish_trial(search, "done", 0.25)
    journal = tmp_path / "study.journal"
    content = journal.read_bytes()
    for torn, done in ((content[:-7], 1), (content[:-1], 1), (content + bytes(500), 2), (content + b"\0\n[1]\n", 2)):
        journal.write_bytes(torn)
        caplog.clear()
        search = Search(tmp_path, SPACE, "val/loss", trials=3)
        assert len(search.study.get_trials(states=(TrialState.COMPLETE,))) == done
        assert search.left() == 3 - done
        (line,) = (record.getMessage() for record in caplog.records)
        assert line == f"{journal} did not end with a complete line: that line is left out."
        finish_trial(search, "done", 0.125)
        assert Search(tmp_path, SPACE, "val/loss", trials=3).left() == 2 - done
    for size in range(0, len(content), len(content) // 4):
        journal.write_bytes(content[:size])
        Search(tmp_path, SPACE, "val/loss", trials=3).ask()


def test_a_journal_that_is_damaged_inside_is_refused(tmp_path: Path) -> None:
    finish_trial(Search(tmp_path, SPACE, "val/loss", trials=3), "done", 0.5)
    journal = tmp_path / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    for damaged in (b"{\n", b"\0\n", b"{}\n", b"[]\n", b'{"op_code": 99}\n', b'{"op_code": 4, "worker_id": "a"}\n'):
        journal.write_bytes(b"".join([*lines[:3], damaged, *lines[3:]]))
        with pytest.raises(UserError, match=r"study.journal is damaged \(.*\): choose another hydra.sweep.dir"):
            Search(tmp_path, SPACE, "val/loss", trials=3)


def test_failed_runs_and_nan_do_not_end_the_search(tmp_path: Path) -> None:
    search = Search(tmp_path, SPACE, "val/loss", trials=4)
    finish_trial(search, "failed", float("nan"))
    finish_trial(search, "done", float("nan"))
    assert search.save() == "search: 0 runs finished, 0 pruned, 2 failed"
    finish_trial(search, "done", 3.0)
    finish_trial(search, "done", 2.0)
    assert search.left() == 0
    assert f"the best val/loss is 2, in {tmp_path}/3_run" in search.save()
    assert OmegaConf.load(search.best_config).lr == search.study.best_params["optim.lr"]


class RayThatLosesATask:
    """A substitute for Ray that runs tasks in this process, and loses the first one."""

    class exceptions:
        class RayError(Exception):
            pass

    is_initialized, put = staticmethod(lambda: True), staticmethod(lambda value: value)

    def __init__(self) -> None:
        self.tasks = 0

    def remote(self, **settings: object) -> Callable[[Callable], SimpleNamespace]:
        return lambda run: SimpleNamespace(remote=lambda *words: partial(run, *words))

    def get(self, task: Callable[[], JobReturn]) -> JobReturn:
        self.tasks += 1
        if self.tasks == 1:
            raise self.exceptions.RayError("The worker died unexpectedly.")
        return task()


def test_a_run_whose_process_dies_counts_as_failed_and_the_search_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    ray = RayThatLosesATask()
    monkeypatch.setitem(sys.modules, "ray", ray)
    words = (*SEARCH, "sweep.trials=2", "objective=mse", "callbacks.plateau.patience=5", "hydra/launcher=ray")
    for _ in range(2):
        assert train_exit_code(monkeypatch, *words) == 0
    assert ray.tasks == 2  # when it started again, nothing was left to do
    assert "search: 1 runs finished, 0 pruned, 1 failed; the best val/psnr is" in capsys.readouterr().out
    assert [status["status"] for status in statuses(tmp_path / "search").values()] == ["done"]


def test_a_continued_search_draws_new_values(tmp_path: Path) -> None:
    for count in range(1, 4):
        finish_trial(Search(tmp_path, SPACE, "val/loss", trials=9), "done", 1.0)
        drawn = [trial.params["optim.lr"] for trial in Search(tmp_path, SPACE, "val/loss", trials=9).study.trials]
        assert len(set(drawn)) == count


def test_a_folder_accepts_only_its_own_search(tmp_path: Path) -> None:
    Search(tmp_path, SPACE, "val/psnr", trials=1)
    Search(tmp_path, SPACE, "val/psnr", trials=2)
    with pytest.raises(UserError, match=r"another metric, val/psnr: choose another hydra\.sweep\.dir"):
        Search(tmp_path, SPACE, "val/ssim", trials=1)
    with pytest.raises(UserError, match=r"holds a search with another space, .*optim.lr.*: choose another"):
        Search(tmp_path, SPACE | {"seed": IntDistribution(1, 3)}, "val/psnr", trials=1)


@pytest.mark.parametrize(
    ("words", "distribution"),
    [
        ("interval(1,10)", FloatDistribution(1, 10)),
        ("tag(log, interval(1e-5, 1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("int(interval(1,10))", IntDistribution(1, 10)),
        ("range(3,16)", IntDistribution(3, 15)),
        ("range(2,9,2)", IntDistribution(2, 8, step=2)),
        ("range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("choice(mse,[1,2],0.5)", CategoricalDistribution(["mse", "[1,2]", "0.5"])),
        ("mse,l1", CategoricalDistribution(["mse", "l1"])),
    ],
)
def test_sweep_syntax_of_hydra_becomes_distributions(words: str, distribution: object) -> None:
    assert distribution_of(OverridesParser.create().parse_override(f"key={words}")) == distribution


MISTAKES = {
    "sweep.trials=0": "sweep.trials=0 must be at least 1.",
    "metrics=3": "metrics=3 must be a list: metrics=[psnr,ssim].",
    "optim.lr=abc": ": optim.lr=abc must be a number.",
    "sweep.metric=val/lpips": "sweep.metric=val/lpips is not measured: see metrics, test and callbacks=evaluation.",
    "sweep.trails=9": "Unknown key sweep.trails: did you mean sweep.trials?",
    "sweep.trials=many": "sweep.trials=many must be a whole number.",
    "sweep.metric=val/colorfulness": "sweep.metric=val/colorfulness cannot be used to compare runs: did you mean val/",
    "objective=mse,l3": "objective=l3 does not exist: choose from: adversarial, classification,",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_answered_in_one_sentence(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train_exit_code(monkeypatch, *SEARCH, words) == 2
    error = capsys.readouterr().err
    assert MISTAKES[words] in error.strip().splitlines()[-1]
    assert "Traceback" not in error
    assert not list(tmp_path.glob("search/*/checkpoints"))


def test_missing_optuna_is_answered_with_the_package_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "optuna"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert train_exit_code(monkeypatch, *SEARCH) == 2
    assert capsys.readouterr().err == "colorlab: sweep=optuna needs Optuna: pip install optuna.\n"
