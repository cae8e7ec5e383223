"""Strategies whose processes would lose what a run logs are refused."""

from pathlib import Path

import pytest

from support.commands import SMALL, train_exit_code


@pytest.mark.parametrize("flag", [(), ("-m",)])
def test_spawned_processes_are_refused_because_they_lose_what_they_log(
    flag: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """Spawned and forked processes log to copies of the loggers: what the test logs would replace metrics.csv."""
    monkeypatch.chdir(tmp_path)
    spawn = ("trainer.strategy=ddp_spawn", "trainer.devices=2", "hydra.run.dir=run", "hydra.sweep.dir=sweep")
    assert train_exit_code(monkeypatch, *flag, *SMALL, *spawn) == 2
    instead = "trainer.devices=1 or hydra/launcher=submitit_slurm" if flag else "trainer.strategy=ddp.\n"
    error = capsys.readouterr().err
    assert "trainer.strategy=ddp_spawn loses what is logged" in error
    assert f"choose {instead}" in error
    assert "Traceback" not in error
