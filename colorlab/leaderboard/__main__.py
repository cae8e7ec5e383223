"""Compare runs: `python -m colorlab.leaderboard FOLDER…` prints a table, and writes it as CSV and as a page."""

import argparse
import os
from pathlib import Path

from colorlab.command_line import leave
from colorlab.errors import UserError


def show_leaderboard(folders: list[Path], out: Path | None = None, sort: str = "loss") -> None:
    """Print the table of all runs below the folders; write `leaderboard.csv` and `leaderboard.html`.

    Args:
        folders: where to look for runs.
        out: the folder to write to; None is the folder itself, or the nearest one that holds them all.
        sort: the column or override to order by.

    Raises:
        UserError: there is no run, or no such column, or the folder cannot be written to.
    """
    from rich.console import Console

    from colorlab.leaderboard.board import make_board, print_table, write_csv
    from colorlab.leaderboard.page import write_page
    from colorlab.leaderboard.run import find_runs

    board = make_board(find_runs(folders), sort)
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
    print(f"leaderboard: {os.path.relpath(out / 'leaderboard.html')} (and .csv)", flush=True)


def main() -> None:
    """Entry point of `colorlab-leaderboard`."""
    parser = argparse.ArgumentParser(prog="colorlab-leaderboard", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="runs are looked for in it and below")
    parser.add_argument(
        "--sort", default="loss", metavar="COLUMN",
        help="loss (the default), psnr, colorfulness, epochs, time, speed, parameters, or an override: optim.lr",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="where leaderboard.csv and .html are written")
    options = parser.parse_args()
    try:
        show_leaderboard(options.folders, options.out, options.sort)
    except UserError as error:
        leave(error)


if __name__ == "__main__":
    main()
