"""Write a trained model for other programs: `python -m colorlab.export CHECKPOINT --to published`."""

import argparse
import os
from pathlib import Path

from colorlab.command_line import leave
from colorlab.errors import UserError


def export_published(checkpoint: Path, out: Path, fold_temperature: bool = False, force: bool = False) -> None:
    """Write the weights under the names of the published `colorization_release_v2`.

    Args:
        checkpoint: an eccv16 of the paper's width, however it was trained.
        out: the file to write; it appears only when it is whole.
        fold_temperature: divide the weights of the logits by the temperature, so that a program that
            decodes by a plain softmax gets the annealed mean. Otherwise every weight stays as it is.
        force: overwrite `out`.

    Raises:
        UserError: the checkpoint has no such layout, or `out` exists.
    """
    import torch

    from colorlab.models.weights import load

    if out.exists() and not force:
        raise UserError(f"{out} exists: give another name with -o, or --force.")
    model = load(checkpoint)
    weights = model.published_weights(fold_temperature)
    part = out.with_name(f"{out.name}.part")
    torch.save(weights, part)
    os.replace(part, out)


def main() -> None:
    """Entry point of `colorlab-export`."""
    parser = argparse.ArgumentParser(prog="colorlab-export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--to", choices=["published"], required=True, help="the layout of the published eccv16")
    parser.add_argument("-o", "--out", type=Path, help="default: beside the checkpoint, CHECKPOINT.pth")
    parser.add_argument(
        "--fold-temperature", action="store_true", help="for programs that decode the bins by a plain softmax"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    options = parser.parse_args()
    out = options.out or options.checkpoint.with_suffix(".pth")
    try:
        export_published(options.checkpoint, out, options.fold_temperature, options.force)
    except UserError as error:
        leave(error)
    print(f"published layout: {out}")


if __name__ == "__main__":
    main()
