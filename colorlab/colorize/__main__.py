"""Color your own pictures and films: `python -m colorlab.colorize PATHS… --checkpoint CKPT -o OUT`."""

import sys

from colorlab.command_line import Parser, parse_arguments, reporting
from colorlab.errors import printable
from colorlab.process.screen import end_without_output
from colorlab.runs.checkpoints import BUILT_IN
from colorlab.runs.published import PUBLISHED


@reporting()
def main() -> None:
    """Run `colorlab-colorize`."""
    arguments = vars(parse_arguments(_parser()))
    from colorlab.colorize.files import color_files  # slow to import
    from colorlab.colorize.jobs import Options

    where = {key: arguments.pop(key) for key in ("paths", "out", "checkpoint", "device")}
    try:
        failures = color_files(**where, options=Options(**arguments))
    except BrokenPipeError as error:  # of -o -
        end_without_output(error)
    for failure in failures:
        print(printable(f"colorlab: {failure}"), file=sys.stderr)
    sys.exit(1 if failures else 0)


def _parser() -> Parser:
    parser = Parser(prog="colorlab-colorize", description=__doc__)
    parser.add_argument("paths", nargs="+", metavar="PATHS", help="files, folders, patterns; - is standard input")
    parser.add_argument(
        "--checkpoint",
        default=BUILT_IN,
        metavar="CKPT",
        help="a checkpoint, a run's folder for its best one, or a published network:"
        f" {', '.join(PUBLISHED)} (default: a small model that comes with colorlab)",
    )
    parser.add_argument("-o", "--out", required=True, help="a folder; for one picture a file, or - (standard output)")
    parser.add_argument(
        "--size", type=int, help="short side of the network's input (default: 256 pixels; DDColor: 512)"
    )
    parser.add_argument("--guided", action="store_true", help="upsample color along the edges of the picture")
    parser.add_argument("--saturation", type=float, default=1.0, help="factor of the color (default: 1)")
    parser.add_argument("--temperature", type=float, help="of models with bins: lower is bolder (the model's own)")
    parser.add_argument("--side-by-side", action="store_true", help="put the gray picture beside the colored one")
    parser.add_argument("--steady", type=float, default=0.8, help="films: share of the previous frame's color (0.8)")
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps … (default: a GPU if there is one)")
    parser.add_argument("--batch-size", type=int, default=16, help="pictures per batch of the network (default: 16)")
    parser.add_argument("--megapixels", type=float, default=200.0, help="larger pictures are refused (default: 200)")
    return parser


if __name__ == "__main__":
    main()
