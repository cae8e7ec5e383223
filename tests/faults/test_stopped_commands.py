"""SIGTERM to the commands beside the training: each ends promptly, with one sentence and exit code 143."""

import time
from functools import partial
from pathlib import Path

import pytest
import torch

from colorlab.data.splits import SAMPLES
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint
from support.command_process import CommandProcess
from support.fault_injection import at_call, call_all, send_signals_to_self

ON_CPU = ("trainer=cpu", "data.workers=0")
COMMANDS = {
    "evaluate": (
        ("checkpoint=cunet.ckpt", *ON_CPU, "metrics=[psnr]", "protocol=native"),
        "colorlab.evaluate.evaluator:Evaluator.predict_step",
    ),
    "colorize": (
        (f"{SAMPLES}", "--checkpoint", "cunet.ckpt", "-o", "new", "--size", "32"), "colorlab.colorize.batching:predict",
    ),
    "export": (("cunet.ckpt", "--to", "torch"), "torch.export:export"),
    "prior": (("data.size=32", "data.workers=0"), "colorlab.data.color_histogram:split_lab"),
    "shards": (("out=shards", "data.workers=0"), "colorlab.shards.packing:ShardWriter._append"),
    "demo": (("cunet.ckpt", "--port", "0"), "uvicorn:Server.main_loop"),
    "study": (
        ("checkpoint=cunet.ckpt", *ON_CPU, "pictures=3", "counted=2", "practice=1", "port=0"),
        "uvicorn:Server.main_loop",
    ),
}  # fmt: skip
"""For each command: its words, and a function at whose first call the signal comes."""
QUICK = ("evaluate", "colorize", "demo")


@pytest.mark.parametrize(
    "command", [pytest.param(name, marks=[pytest.mark.faults] * (name not in QUICK)) for name in COMMANDS]
)
def test_a_signal_ends_a_command_promptly_with_one_sentence(tally, tmp_path: Path, command: str) -> None:
    torch.manual_seed(0)
    save_checkpoint(CUNet(width=2), tmp_path / "cunet.ckpt")
    words, place = COMMANDS[command]
    names = {15: "SIGTERM", 1: "SIGHUP"}
    for number in names if tally.times(1, 2) == 2 else (15,):
        with tally.injecting(f"SIGTERM or SIGHUP to {command}"):
            signal = partial(call_all, Path("sent").touch, partial(send_signals_to_self, number))
            stopping = partial(at_call, place, 1, do=signal)
            process = CommandProcess(*words, cwd=tmp_path, before=stopping, command=command)
            assert process.wait(timeout=120) == 128 + number, process.output()
            assert time.time() - (tmp_path / "sent").stat().st_mtime < 60  # on a busy machine
            said = process.output()
            sentences = [line for line in said.splitlines() if line.startswith("colorlab: ")]
            assert sentences == [f"colorlab: {names[number]}."], said
            assert "Traceback" not in said
            assert not list(tmp_path.rglob("*.part"))
