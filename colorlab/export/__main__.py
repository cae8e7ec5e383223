"""Write a trained model for other programs: `python -m colorlab.export CHECKPOINT --to onnx`."""

import argparse
import importlib.util
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colorlab.command_line import leave, quiet_libraries
from colorlab.errors import UserError
from colorlab.runs.checkpoints import BUILT_IN, find_checkpoint, sha256_of

if TYPE_CHECKING:
    from colorlab.export.parity import Program
    from colorlab.models import Colorizer
    from colorlab.models.weights import Half

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors", "huggingface": "", "published": ".pth"}


@dataclass
class Settings:
    """What is written, and how. Each choice below belongs to some formats alone.

    Args:
        to: the format.
        rgb: the graph takes and gives RGB.
        half: the type that convolutions are kept in; None is float32.
        evaluation: an evaluation.json of the checkpoint, for the model card.
        fold_temperature: let programs that decode bins by a plain softmax get the annealed mean.
    """

    to: str
    rgb: bool = False
    half: "Half | None" = None
    evaluation: Path | None = None
    fold_temperature: bool = False

    def __post_init__(self) -> None:
        belongs = {
            "rgb": ("onnx", "torch"), "half": ("safetensors", "huggingface"), "evaluation": ("huggingface",),
            "fold_temperature": ("published",),
        }  # fmt: skip
        for choice, formats in belongs.items():
            if getattr(self, choice) and self.to not in formats:
                raise UserError(f"--{choice.replace('_', '-')} goes with --to {' or '.join(formats)}.")
        missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
        if self.to == "onnx" and missing:
            raise UserError(f"--to onnx needs {', '.join(missing)}: pip install 'colorlab[export]'.")


def export(checkpoint: Path, settings: Settings, out: Path | None = None, force: bool = False) -> tuple[Path, float]:
    """Write a model, read what was written, and compare the colors on a photograph.

    Args:
        checkpoint: a file, a run's folder, which stands for its best one, or an exported model.
        settings: the format.
        out: the file, or for huggingface the folder; None is beside the checkpoint, or here for the built-in
            one. It appears when it is whole and right.
        force: overwrite it. In a folder, files of other names stay.

    Returns:
        Where it was written, and the largest difference in units of ab, or with `rgb` of RGB in 0..1.

    Raises:
        UserError: the checkpoint has no such format, `out` cannot be written, or the colors differ.
    """
    here = str(checkpoint) == BUILT_IN  # its own folder is the package's
    checkpoint = find_checkpoint(checkpoint, best=True) if here or checkpoint.is_dir() else checkpoint
    out = out or Path(checkpoint.name if here else checkpoint).with_suffix(SUFFIXES[settings.to])
    if (suffix := SUFFIXES[settings.to]) and out.suffix != suffix:
        raise UserError(f"-o {out} must end in {suffix}, by which programs know the format.")
    if out.exists() and not force:
        raise UserError(f"{out} exists: give another name with -o, or --force.")
    quiet_libraries()
    from colorlab.export.parity import LIMIT, difference
    from colorlab.models.weights import load

    model = load(checkpoint).requires_grad_(False)
    part = out.with_name(f"{out.stem}.part{out.suffix}")
    try:
        program = _write(model, part, settings, checkpoint, out.name)
        found, limit = difference(model, program, settings.rgb), LIMIT["rgb" if settings.rgb else "ab"]
        if not (math.isfinite(found) if settings.half else found <= limit):
            raise UserError(f"The file's colors differ from the model's by {found:.2g} (allowed: {limit:g}).")
        _put(part, out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
    return out, found


def _write(model: "Colorizer", part: Path, settings: Settings, checkpoint: Path, name: str) -> "Program":
    """Write the model to `part`, and read it as its users will."""
    if settings.to in ("onnx", "torch"):
        from colorlab.export.graph import Graph

        if settings.to == "onnx":
            from colorlab.export import onnx as form
        else:
            from colorlab.export import archive as form
        form.write(Graph(model, settings.rgb).eval(), part)
        return form.read(part)
    from colorlab.models import weights

    if settings.to == "published":
        import torch

        published = model.published_weights(settings.fold_temperature)
        with part.open("wb") as file:
            torch.save(published, file)
        arguments = dict(model.hparams) | ({"temperature": 1.0} if settings.fold_temperature else {})
        return type(model)(**arguments, weights=str(part)).eval()
    if settings.to == "safetensors":
        weights.write_safetensors(model, part, settings.half)
    else:
        weights.write_folder(model, part, settings.half, _card(model, settings, checkpoint, name))
    return weights.load(part)


def _card(model: "Colorizer", settings: Settings, checkpoint: Path, name: str) -> str:
    from colorlab.export.card import read_evaluation, write_card

    if settings.evaluation is None:
        return write_card(model, name, None)
    return write_card(model, name, read_evaluation(settings.evaluation, sha256_of(checkpoint)))


def _put(part: Path, out: Path) -> None:
    """Move what was written to its place."""
    if part.is_dir() and out.is_dir():
        for file in part.iterdir():
            os.replace(file, out / file.name)
    else:
        os.replace(part, out)


def main() -> None:
    """Entry point of `colorlab-export`."""
    parser = argparse.ArgumentParser(prog="colorlab-export", description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a file, a run's folder, or built-in")
    parser.add_argument("--to", choices=SUFFIXES, required=True, help="the format; torch is an archive of torch.export")
    parser.add_argument("-o", "--out", type=Path, help="default: beside the checkpoint")
    parser.add_argument("--rgb", action="store_true", help="onnx, torch: take RGB and give RGB, in place of L and ab")
    parser.add_argument(
        "--half", nargs="?", const="float16", choices=["float16", "bfloat16"],
        help="safetensors, huggingface: keep convolutions in half the bytes (float16)",
    )  # fmt: skip
    parser.add_argument(
        "--evaluation", type=Path, metavar="FILE", help="huggingface: an evaluation.json for the model card"
    )
    parser.add_argument(
        "--fold-temperature", action="store_true", help="published: for programs that decode bins by a plain softmax"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    options = vars(parser.parse_args())
    checkpoint, out, force = (options.pop(key) for key in ("checkpoint", "out", "force"))
    try:
        settings = Settings(**options)
        out, difference = export(checkpoint, settings, out, force)
    except UserError as error:
        leave(error)
    unit = "RGB of 0..1" if settings.rgb else "units of ab"
    print(f"{settings.to}: {out}")
    print(f"On a photograph its colors differ from the checkpoint's by at most {difference:.2g} {unit}.")


if __name__ == "__main__":
    main()
