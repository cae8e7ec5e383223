"""Workers of loaders, and programs that use colorlab beside workers of their own."""

import subprocess
import sys

from colorlab.data import ColorDataModule

OWN_CHILD = """
import atexit, multiprocessing.util

def work(leave):
    leave.wait()
    print("finished", flush=True)

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    leave = fork.Event()
    child = fork.Process(target=work, args=(leave,), daemon=True)
    child.start()
    atexit.register(lambda: (leave.set(), child.join()))  # called after colorlab's exit function, if there is one
    from colorlab.data import ColorDataModule
    {use}
"""

FAILING_LOOP = """
from colorlab.data import ColorDataModule

if __name__ == "__main__":
    batches = iter(ColorDataModule(size=16, batch_size=4, workers=2).reader("all"))
    next(batches)
    raise RuntimeError("the traceback keeps the iterator, and so its workers")
"""


def run(program: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)


def test_importing_colorlab_data_registers_no_exit_function() -> None:
    program = """
import atexit, torch, lightning, kornia, matplotlib.figure, rich.progress, tifffile, imagecodecs, torchvision.transforms
register, added = atexit.register, []
atexit.register = lambda function, *arguments, **others: added.append(function) or function
import colorlab.data
print([function for function in added if function.__module__.startswith("colorlab")])
"""
    assert run(program).stdout == "[]\n"


def test_a_daemon_child_of_the_program_lives_on() -> None:
    used = "for _ in ColorDataModule(size=16, batch_size=64, workers=2).reader('test'): pass"
    for use in ("pass", used):
        assert run(OWN_CHILD.format(use=use)).stdout == "finished\n"


def test_workers_end_with_a_program_that_fails() -> None:
    assert run(FAILING_LOOP).returncode == 1


def test_batches_of_a_loader_can_be_read_again() -> None:
    loader = ColorDataModule(size=16, batch_size=16, workers=2).reader("test")
    assert [batch.index.tolist() for batch in loader] == [batch.index.tolist() for batch in loader]
