"""Measure colorlab against other implementations: `python -m colorlab.benchmark bins`."""

import importlib
import sys
from pathlib import Path

from colorlab.command_line import Parser, reporting
from colorlab.process.screen import essential_output

BENCHMARKS = {
    "data": "files to (L, ab), against the loaders of other projects (needs OpenCV and scikit-image)",
    "transform": "augmentation and split on the device, against kornia's",
    "bins": "the classification objective, against dense targets (needs scikit-learn)",
    "train": "a training step, against a plain PyTorch loop and against fp32",
    "models": "each network: parameters, and time and memory of a picture in training and in coloring",
    "flicker": "flicker of the colors of films, with and without --steady (needs PyAV)",
    "colorize": "photographs of any size, against the released demo's method (needs scikit-image)",
}
"""The benchmark modules of this package, and what each measures."""


@reporting()
def main() -> None:
    """Entry point of `colorlab-benchmark`."""
    parser = Parser(prog="colorlab-benchmark", description=__doc__)
    choices = parser.add_subparsers(required=True, metavar="WHAT", dest="what")
    requested = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    for name, meaning in BENCHMARKS.items():
        options = choices.add_parser(name, help=meaning, description=meaning)
        options.add_argument("--json", type=Path, help=f"file for the numbers (benchmark_{name}.json)")
        if name == requested:  # imports only what this benchmark needs
            importlib.import_module(f"colorlab.benchmark.{name}").add_arguments(options)
    with essential_output():  # of --help
        chosen = parser.parse_args()
    result = importlib.import_module(f"colorlab.benchmark.{chosen.what}").run(chosen)
    result.print()
    result.write(chosen.json or Path(f"benchmark_{chosen.what}.json"))


if __name__ == "__main__":
    main()
