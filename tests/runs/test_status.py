"""What a run's status file says of how it ended."""

import os
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from colorlab.errors import Preempted, Pruned, UserError
from colorlab.runs.folder import RunFolder
from colorlab.runs.status import Status

ENDS = {
    "done": (None, None, None),
    "pruned": (Pruned("worse than the median"), "Pruned", "worse than the median"),
    "failed": (ValueError("no\n  such  size"), "ValueError", "ValueError: no such size"),
    "interrupted": (KeyboardInterrupt(), "KeyboardInterrupt", "Ctrl-C"),
}


def end(folder: RunFolder, error: BaseException | None, begin: bool = True, in_sweep: bool = False) -> None:
    status = Status(folder, "python -m colorlab.train seed=1", ["seed=1"])
    with status.kept(in_sweep):
        if begin:
            status.begin()
        if error:
            raise error


@pytest.mark.parametrize("name", ENDS)
def test_the_status_says_how_a_run_ended_and_the_exception_goes_on(tmp_path: Path, name: str) -> None:
    error, kind, reason = ENDS[name]
    folder = RunFolder(tmp_path)
    if error is None:
        end(folder, None)
    else:
        with pytest.raises(type(error)):
            end(folder, error)
    status = folder.status()
    assert (status["status"], status["error"], status["reason"]) == (name, kind, reason)
    assert status["started"] <= status["ended"]
    assert (status["command"], status["overrides"]) == ("python -m colorlab.train seed=1", ["seed=1"])


def test_a_run_is_running_until_it_ends(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.status() is None
    Status(folder, "", []).begin()
    assert (folder.status()["status"], folder.status()["ended"]) == ("running", None)
    assert folder.status()["pid"] == os.getpid()


class Lost(Dataset):
    """Photographs in a place that goes away, or that a defect of ours keeps from being read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("s3://photographs: no such bucket."), "s3://photographs: no such bucket."),
        (ValueError("no\n  such  size"), "ValueError: no such size"),
    ],
)
def test_what_a_worker_raised_is_told_without_its_traceback(tmp_path: Path, error: Exception, reason: str) -> None:
    status = Status(RunFolder(tmp_path), "", [])

    @status.kept(in_sweep=True)
    def run() -> None:
        next(iter(DataLoader(Lost(error), num_workers=1)))

    with pytest.raises(type(error)) as caught:
        run()
    assert "Traceback" in str(caught.value)
    assert RunFolder(tmp_path).status()["reason"] == reason


def test_a_mistake_found_before_the_start_leaves_an_earlier_runs_status_alone(tmp_path: Path) -> None:
    """But in a sweep, where it must be told at the end, it does not."""
    folder = RunFolder(tmp_path)
    end(folder, None)
    for in_sweep, name in ((False, "done"), (True, "failed")):
        with pytest.raises(UserError):
            end(folder, UserError("model=eccv17 does not exist."), begin=False, in_sweep=in_sweep)
        assert folder.status()["status"] == name
    assert folder.status()["reason"] == "model=eccv17 does not exist."


def test_a_mistake_found_before_the_start_is_no_run(tmp_path: Path) -> None:
    """What fails otherwise is told, even so early."""
    folder = RunFolder(tmp_path)
    with pytest.raises(UserError):
        end(folder, UserError("model=eccv17 does not exist."), begin=False)
    assert folder.status() is None
    with pytest.raises(MemoryError):
        end(folder, MemoryError(), begin=False)
    assert folder.status()["status"] == "failed"


def test_a_signal_before_the_start_leaves_an_earlier_runs_status_alone(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    end(folder, None)
    with pytest.raises(Preempted):
        end(folder, Preempted(), begin=False)
    assert folder.status()["status"] == "done"


def test_a_damaged_status_does_not_take_a_signals_place(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text('{"status": "ru')
    with pytest.raises(KeyboardInterrupt):
        end(RunFolder(tmp_path), KeyboardInterrupt(), begin=False)
    assert not RunFolder(tmp_path).is_done()


def test_an_exception_on_the_way_out_is_no_failure(tmp_path: Path) -> None:
    """SLURM, queuing a job again, ends its workers before itself."""
    status = Status(RunFolder(tmp_path), "", [])

    @status.kept(in_sweep=True)
    def run() -> None:
        try:
            raise SystemExit(3)
        finally:
            raise RuntimeError("worker is killed")

    with pytest.raises(SystemExit) as left:
        run()
    assert left.value.code == 3
    assert RunFolder(tmp_path).status()["status"] == "interrupted"


def test_of_several_processes_only_the_first_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(Preempted):
        end(RunFolder(tmp_path), Preempted())
    assert RunFolder(tmp_path).status() is None
