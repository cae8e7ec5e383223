"""Compare runs in a table on the screen, as CSV and as a page: `python -m colorlab.leaderboard FOLDER…`."""

from pathlib import Path

from colorlab.command_line import Parser, parse_arguments, reporting
from colorlab.leaderboard.show import show_leaderboard


@reporting(output_is_result=True)
def main() -> None:
    """Entry point of `colorlab-leaderboard`."""
    parser = Parser(prog="colorlab-leaderboard", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="where to look for runs, at any depth")
    parser.add_argument(
        "--sort", default="loss", metavar="COLUMN",
        help="loss (the default), psnr, colorfulness, epochs, time, speed, parameters, or an override: optim.lr",
    )  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, metavar="FOLDER", help="the folder for leaderboard.csv and .html")
    options = parse_arguments(parser)
    show_leaderboard(options.folders, options.out, options.sort)


if __name__ == "__main__":
    main()
