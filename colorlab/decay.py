"""Ask a running training for a decay of its learning rate: `python -m colorlab.decay RUN_FOLDER`."""

import sys
from pathlib import Path

REQUEST = "decay.request"
"""The file in a run's folder that asks for a decay; PlateauDecay takes it at the next epoch's end."""


def main() -> None:
    """Entry point of `colorlab-decay`."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m colorlab.decay RUN_FOLDER", file=sys.stderr)
        sys.exit(0 if sys.argv[1:] in (["-h"], ["--help"]) else 2)
    folder = Path(sys.argv[1])
    config = folder / "config.yaml"
    if not config.is_file():
        print(f"colorlab: {folder} is not the folder of a run (it has no config.yaml).", file=sys.stderr)
        sys.exit(2)
    if "colorlab.callbacks.plateau" not in config.read_text():
        print(f"colorlab: the run in {folder} has no plateau callback to ask.", file=sys.stderr)
        sys.exit(2)
    (folder / REQUEST).touch()
    print(f"The run in {folder} will decay its learning rate at the end of this epoch.")


if __name__ == "__main__":
    main()
