"""Show the leaderboard of folders: on the screen, as CSV and as a page."""

import os
from pathlib import Path

from colorlab.errors import UserError, printable
from colorlab.files import relative


def show_leaderboard(folders: list[Path], out: Path | None = None, sort: str = "loss") -> None:
    """Print the table of all runs below the folders, and write `leaderboard.csv` and `leaderboard.html`.

    Args:
        folders: where to look for runs.
        out: the folder to write to; None is the folder itself, or the nearest one that contains all folders.
        sort: the column or override to order by.

    Raises:
        UserError: there is no run or no such column, or the folder cannot be written to.
    """
    from rich.console import Console

    from colorlab.leaderboard.board import make_board, write_csv
    from colorlab.leaderboard.page import write_page
    from colorlab.leaderboard.summary import find_runs
    from colorlab.leaderboard.table import print_table

    runs, left_out = find_runs(folders)
    board = make_board(runs, sort)
    out = out or Path(os.path.commonpath([folder.resolve() for folder in folders]))
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_csv(board, out / "leaderboard.csv")
        write_page(board, out / "leaderboard.html")
    except OSError as error:
        raise UserError(f"{out} cannot be written to ({error.strerror}): give another folder with --out.") from error
    print_table(board, Console())
    for note in board.notes():
        print(note)
    if left_out:
        print(f"{left_out} {'run' if left_out == 1 else 'runs'} that were refused before they trained are not shown.")
    print(f"leaderboard: {printable(relative(out / 'leaderboard.html'))} (and .csv)", flush=True)
