"""Workers of loaders, and programs that use colorlab beside workers of their own."""

import json
import subprocess

import pytest

from colorlab.data import ColorDataModule
from support.command_process import run_forked

PROGRAM = """
import atexit, json, multiprocessing.util, sys

for name in [name for name in sys.modules if name.partition(".")[0] == "colorlab"]:
    del sys.modules[name]  # the server that this process is forked from has imported them

def work(leave):
    leave.wait()
    print("finished", flush=True)

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    leave = fork.Event()
    child = fork.Process(target=work, args=(leave,), daemon=True)
    child.start()
    atexit.register(lambda: (leave.set(), child.join()))  # called after colorlab's exit function, if there is one
    register, added = atexit.register, []
    atexit.register = lambda function, *rest, **named: added.append(function) or register(function, *rest, **named)
    from colorlab.data import ColorDataModule
    ours = [str(function) for function in added if str(function.__module__).startswith("colorlab")]
    print(json.dumps(ours), flush=True)
    data = ColorDataModule(size=16, batch_size=32, workers=2)
    for _ in data.reader("test"):
        pass
    batches = iter(data.reader("all"))
    next(batches)
    raise RuntimeError("the traceback keeps the iterator, and so its workers")
"""
"""A program that has a daemon child, reads pictures with two workers, and fails while two others read."""


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess:
    """Run the program to its end."""
    folder = tmp_path_factory.mktemp("program")
    (script := folder / "program.py").write_text(PROGRAM)
    return run_forked(script, cwd=folder)


def test_importing_colorlab_data_registers_no_exit_function(ended: subprocess.CompletedProcess) -> None:
    assert json.loads(ended.stdout.splitlines()[0]) == []


def test_a_daemon_child_of_the_program_lives_on(ended: subprocess.CompletedProcess) -> None:
    assert ended.stdout.splitlines()[1:] == ["finished"]


def test_workers_end_with_a_program_that_fails(ended: subprocess.CompletedProcess) -> None:
    assert ended.returncode == 1
    assert "RuntimeError: the traceback keeps the iterator, and so its workers" in ended.stderr


def test_batches_of_a_loader_can_be_read_again() -> None:
    loader = ColorDataModule(size=16, batch_size=16, workers=2).reader("test")
    assert [batch.index.tolist() for batch in loader] == [batch.index.tolist() for batch in loader]
