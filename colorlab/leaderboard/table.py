"""The table of runs on a terminal, which always shows the runs' names, models, statuses, losses and PSNRs."""

import re
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from colorlab.leaderboard.board import NUMBERS, Board, cell
from colorlab.leaderboard.summary import RunSummary

STYLES = {"done": "green", "running": "cyan", "failed": "red", "killed": "red"}

ALWAYS = ("loss", "psnr")
DROPPED_FIRST = ("parameters", "time", "speed", "epochs")
"""Columns that a terminal without room for them lacks, in this order, before it lacks the other numbers."""

NARROWEST = 12
"""Columns that names and overrides have at least."""

BREAKS = (" ", "/", "_=,+")
"""Characters behind which a text goes on in the next line: the later ones only where the earlier ones do not do."""

UNLIMITED = 10_000


def print_table(board: Board, console: Console) -> None:
    """Print the table; a file gets all columns, a narrow terminal fewer numbers.

    If there is no room for a column per override either, one column holds the overrides that were typed for each run.
    """
    numbers = [name for name in NUMBERS if name not in ALWAYS]
    table = _wide(board, numbers)
    if not console.is_terminal:
        console.width = max(console.width, _width(table, console))
    for optional in (*DROPPED_FIRST, *(name for name in reversed(NUMBERS) if name not in DROPPED_FIRST)):
        if optional in numbers and _width(table, console) > console.width:
            numbers.remove(optional)
            table = _wide(board, numbers)
    console.print(table if _width(table, console) <= console.width else _narrow(board, console))


def _width(table: Table, console: Console) -> int:
    return console.measure(table, options=console.options.update(max_width=UNLIMITED)).maximum


def _wide(board: Board, numbers: list[str]) -> Table:
    """Return the table with a column per override, and the given numbers behind them."""
    keys = [key for key in board.keys if key != "model"]
    table = _table(keys)
    for name in numbers:
        table.add_column(NUMBERS[name].title, justify="right", no_wrap=True)
    for run in board.runs:
        settings = (Text(run.setting(key)) for key in keys)
        table.add_row(Text(board.name(run)), *_always(run), *settings, *(cell(run, name) for name in numbers))
    return table


def _narrow(board: Board, console: Console) -> Table:
    """Return the table with one column of overrides; long names and overrides go on in the next line."""
    names = [board.name(run) for run in board.runs]
    overrides = [_typed(run, board) for run in board.runs]
    empty = _table([])
    for run in board.runs:
        empty.add_row("", *_always(run))
    room = console.width - _width(empty, console) + len("run") - 2  # 2: the margins of the column of overrides
    wanted = max((len(line) for line in overrides), default=0)
    folder = max(len(part) for name in names for part in name.split("/")) + len("/")
    given = min(wanted, max(room - max(map(len, names)), min(room // 2, room - folder), NARROWEST))
    for_names = max(room - given, NARROWEST)
    table = _table(["overrides"] if wanted else [])
    for run, name, line in zip(board.runs, names, overrides, strict=True):
        table.add_row(Text(_broken(name, for_names)), *_always(run), *([Text(_broken(line, given))] if wanted else []))
    return table


def _table(keys: list[str]) -> Table:
    table = Table(box=None, header_style="bold")
    table.add_column("run", overflow="fold")
    for title in ("model", "status"):
        table.add_column(title, no_wrap=True, overflow="fold")
    for name in ALWAYS:
        table.add_column(NUMBERS[name].title, justify="right", no_wrap=True)
    for key in keys:
        table.add_column(Text(key), overflow="fold")
    return table


def _always(run: RunSummary) -> list[Text | str]:
    return [Text(run.model), Text(run.status, STYLES.get(run.status, "yellow")), *(cell(run, name) for name in ALWAYS)]


def _typed(run: RunSummary, board: Board) -> str:
    """Return the overrides that were typed for a run, as far as the runs differ in them, without their groups."""
    last_parts = [key.rpartition(".")[2] for key in board.keys]
    words = []
    for key in run.overrides:
        if key in board.keys and key != "model":
            last = key.rpartition(".")[2]
            words.append(f"{last if last_parts.count(last) == 1 else key}={run.setting(key)}")
    return " ".join(words)


def _broken(text: str, width: int) -> str:
    """Break a text into lines of a width."""
    lines = [""]
    for piece in _pieces(text, width, BREAKS):
        if len(lines[-1]) + len(piece.rstrip(" ")) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip(" ") for line in lines if line)


def _pieces(text: str, width: int, breaks: tuple[str, ...]) -> Iterator[str]:
    if len(text.rstrip(" ")) <= width:
        yield text
    elif breaks:
        for part in re.split(f"(?<=[{breaks[0]}])", text):
            yield from _pieces(part, width, breaks[1:])
    else:
        yield from (text[place : place + width] for place in range(0, len(text), width))
