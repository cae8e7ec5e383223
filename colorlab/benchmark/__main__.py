"""Measure colorlab against what people use: `python -m colorlab.benchmark bins`."""

import argparse
import importlib
import sys
from pathlib import Path

from colorlab.command_line import leave
from colorlab.errors import UserError

BENCHMARKS = {
    "data": "files to (L, ab) against the loaders people use (needs OpenCV and scikit-image)",
    "transform": "augmentation and split on the device against kornia's",
    "bins": "Zhang's objective against dense targets (needs scikit-learn)",
    "train": "a training step against a bare PyTorch loop, and against fp32",
    "flicker": "the colors of films, with and without what steadies them (needs PyAV)",
    "colorize": "photographs of any size, against the way of the released demo (needs scikit-image)",
}
"""The modules of this package, and what each measures."""


def main() -> None:
    """Entry point of `colorlab-benchmark`."""
    parser = argparse.ArgumentParser(prog="colorlab-benchmark", description=__doc__)
    choices = parser.add_subparsers(required=True, metavar="WHAT", dest="what")
    asked = next((word for word in sys.argv[1:] if not word.startswith("-")), None)
    for name, meaning in BENCHMARKS.items():
        options = choices.add_parser(name, help=meaning, description=meaning)
        options.add_argument("--json", type=Path, help=f"where the numbers go (benchmark_{name}.json)")
        if name == asked:  # only now what it needs is imported
            importlib.import_module(f"colorlab.benchmark.{name}").add_arguments(options)
    chosen = parser.parse_args()
    try:
        result = importlib.import_module(f"colorlab.benchmark.{chosen.what}").run(chosen)
    except UserError as error:
        leave(error)
    result.print()
    result.write(chosen.json or Path(f"benchmark_{chosen.what}.json"))


if __name__ == "__main__":
    main()
