"""The private parts of libraries that colorlab uses: they exist, and mean what colorlab takes them to mean."""

import pytest
from lightning import Trainer

from colorlab.library_internals import process_start_method


@pytest.mark.parametrize(
    ("strategy", "method"), [("auto", None), ("ddp", "command"), ("ddp_spawn", "spawn"), ("ddp_fork", "fork")]
)
def test_process_start_method_of_each_strategy(strategy: str, method: str | None) -> None:
    devices = 1 if strategy == "auto" else 2
    trainer = Trainer(strategy=strategy, devices=devices, accelerator="cpu", logger=False, barebones=True)
    assert process_start_method(trainer) == method
