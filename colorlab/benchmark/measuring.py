"""Measurement of time and memory, and the output of results."""

import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

LINUX = sys.platform == "linux"


@dataclass
class Result:
    """The result of a benchmark.

    Args:
        title: what was measured, and on what.
        rows: the table's rows as dicts from heading to cell, all with the same headings.
        facts: further data for the JSON file.
        note: a line below the table.
    """

    title: str
    rows: list[dict[str, Any]]
    facts: dict[str, Any]
    note: str = ""

    def print(self) -> None:
        """Print the table."""
        table = Table(title=self.title)
        for heading, cell in self.rows[0].items():
            table.add_column(heading, justify="left" if isinstance(cell, str) else "right")
        for row in self.rows:
            table.add_row(*map(_cell, row.values()))
        console = Console(width=120, highlight=False)
        console.print(table)
        if self.note:
            console.print(self.note)

    def write(self, path: Path) -> None:
        """Write the table and what it depends on as JSON."""
        content = {"title": self.title, "rows": self.rows, "facts": self.facts, "machine": machine()}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        print(f"numbers: {path}")


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return "" if value is None else str(value)
    digits = max(0, 3 - len(str(int(abs(value)))))  # three significant digits
    return f"{value:,.{digits}f}"


def machine() -> dict[str, Any]:
    """Return the device, the number of cores and the versions of packages."""
    packages = ("torch", "torchvision", "lightning", "kornia", "pillow", "numpy")
    return {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "cpu",
        "cores": len(os.sched_getaffinity(0)) if LINUX else os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def in_fresh_process(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a module's function from a new process, whose peak memory is the function's own.

    On Linux the process is forked from a server that has only imported the module.
    """
    context = multiprocessing.get_context("forkserver" if LINUX else "spawn")
    if LINUX:
        context.set_forkserver_preload([measure.__module__])
    with context.Pool(1) as process:
        return process.apply(measure, arguments)


def now(device: str = "cpu", alone: bool = False) -> float:
    """Return the time in seconds after all work submitted to the device is done.

    Args:
        device: cuda or cpu.
        alone: whether one thread does all the work; then CPU time is returned, which excludes other programs.
    """
    if device == "cuda":
        torch.cuda.synchronize()
    return time.process_time() if alone and device == "cpu" else time.perf_counter()


def reset_peak(device: str = "cpu") -> int:
    """Reset the peak of memory, where the system can; return the memory now in use, in bytes."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    elif LINUX:
        Path("/proc/self/clear_refs").write_text("5")
    return peak(device)


def peak(device: str = "cpu") -> int:
    """Return the peak memory in bytes, of the device or of this process."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    if LINUX:
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
