"""Ask a running training for a decay of its learning rate: `python -m colorlab.decay RUN_FOLDER`."""

from colorlab.command_line import Parser, reporting
from colorlab.runs.decay_request import request_decay
from colorlab.runs.folder import RunFolder


@reporting(output_is_result=True)
def main() -> None:
    """Run the command `colorlab-decay`."""
    parser = Parser(prog="colorlab-decay", description=__doc__)
    parser.add_argument("run_folder", metavar="RUN_FOLDER", help="the folder that the training printed at its start")
    folder = RunFolder(parser.parse_args().run_folder)
    request_decay(folder)
    print(f"The run in {folder.path} will decay its learning rate at the end of this epoch.")


if __name__ == "__main__":
    main()
