"""Write a trained model in a format of other programs, and check that the written file gives the same colors."""

import importlib.util
import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from colorlab.command_line import quiet_libraries
from colorlab.errors import UserError, how_to_install
from colorlab.runs.checkpoints import BUILT_IN, find_checkpoint, sha256_of
from colorlab.runs.published import published_word

if TYPE_CHECKING:
    from colorlab.export.parity import Program
    from colorlab.models import Colorizer
    from colorlab.models.weights import Half

SUFFIXES = {"onnx": ".onnx", "torch": ".pt2", "safetensors": ".safetensors", "huggingface": "", "published": ".pth"}
"""The suffix of each format's file; huggingface writes a folder."""

FORMATS_OF = {
    "rgb": ("onnx", "torch"), "half": ("safetensors", "huggingface"), "evaluation": ("huggingface",),
    "fold_temperature": ("published",),
}  # fmt: skip
"""The formats that each option is for."""


@dataclass
class ExportSettings:
    """The format to write, and its options.

    Args:
        to: the format.
        rgb: the graph takes and returns RGB instead of L and ab.
        half: the type that convolutions are stored in; None is float32.
        evaluation: an evaluation.json of the checkpoint, for the model card.
        fold_temperature: scale the weights so that programs that decode bins by a plain softmax get the annealed mean.

    Raises:
        UserError: an option is for other formats, or a package is not installed.
    """

    to: str
    rgb: bool = False
    half: "Half | None" = None
    evaluation: Path | None = None
    fold_temperature: bool = False

    def __post_init__(self) -> None:
        for option, formats in FORMATS_OF.items():
            if getattr(self, option) and self.to not in formats:
                raise UserError(f"--{option.replace('_', '-')} goes with --to {' or '.join(formats)}.")
        missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if importlib.util.find_spec(name) is None]
        if self.to == "onnx" and missing:
            raise UserError(f"--to onnx needs {', '.join(missing)}: {how_to_install('export')}.")


def export(
    checkpoint: Path, settings: ExportSettings, out: Path | None = None, force: bool = False
) -> tuple[Path, float]:
    """Write a model, read the written file, and compare its colors with the model's on a photograph.

    Args:
        checkpoint: a file, an exported model, a run's folder, whose best checkpoint is taken, or a model's name.
        settings: the format and its options.
        out: the file, or for huggingface the folder, which is written atomically; None is beside the checkpoint, or
            the working folder for a model that is given by name.
        force: overwrite it. In a folder, files of other names stay.

    Returns:
        The written path, and the largest difference in units of ab, or with `rgb` in RGB of 0..1.

    Raises:
        UserError: the checkpoint cannot be written in this format, `out` cannot be written, or the colors differ.
    """
    by_name = str(checkpoint) == BUILT_IN or published_word(checkpoint) is not None
    if str(checkpoint) == BUILT_IN or checkpoint.is_dir():
        checkpoint = find_checkpoint(checkpoint, best=True)
    suffix = SUFFIXES[settings.to]
    out = out or Path(checkpoint.name if by_name else checkpoint).with_suffix(suffix)
    if suffix and out.suffix != suffix:
        raise UserError(f"-o {out} must end in {suffix}, by which programs know the format.")
    if out.exists() and not force:
        raise UserError(f"{out} exists: give another name with -o, or --force.")
    quiet_libraries()
    from colorlab.export.parity import LIMIT, difference
    from colorlab.models.weights import find_model, load

    checkpoint = find_model(checkpoint)
    model = load(checkpoint).requires_grad_(False)
    part = out.with_name(f"{out.stem}.part{out.suffix}")
    try:
        program = _write(model, part, settings, checkpoint, out.name)
        found, limit = difference(model, program, settings.rgb), LIMIT["rgb" if settings.rgb else "ab"]
        if not (math.isfinite(found) if settings.half else found <= limit):
            raise UserError(f"The file's colors differ from the model's by {found:.2g} (allowed: {limit:g}).")
        _move(part, out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True) if part.is_dir() else part.unlink(missing_ok=True)
    return out, found


def _write(model: "Colorizer", part: Path, settings: ExportSettings, checkpoint: Path, name: str) -> "Program":
    """Write the model to `part`, and return the written file as its users run it."""
    if settings.to in ("onnx", "torch"):
        return _write_graph(model, part, settings)
    from colorlab.models import weights

    if settings.to == "published":
        return _write_published(model, part, settings.fold_temperature and model.predicts_bins)
    if settings.to == "safetensors":
        weights.write_safetensors(model, part, settings.half)
    else:
        weights.write_folder(model, part, settings.half, _card(model, settings, checkpoint, name))
    return weights.load(part)


def _write_graph(model: "Colorizer", part: Path, settings: ExportSettings) -> "Program":
    import torch

    from colorlab.export.graph import Graph

    model.to(memory_format=torch.contiguous_format)  # torch.export cannot reason about some channels-last layouts
    graph = Graph(model, settings.rgb).eval()
    if settings.to == "onnx":
        from colorlab.export import onnx

        onnx.write(graph, part)
        return onnx.read(part)
    from colorlab.export import archive

    archive.write(graph, part)
    return archive.read(part)


def _write_published(model: "Colorizer", part: Path, fold_temperature: bool) -> "Program":
    import torch

    from colorlab.models.weights import read_weights

    weights = model.published_weights(fold_temperature)
    with part.open("wb") as file:
        torch.save(weights, file)
    published = type(model)(**dict(model.hparams) | ({"temperature": 1.0} if fold_temperature else {}))
    read_weights(published, part)
    return published.eval()


def _card(model: "Colorizer", settings: ExportSettings, checkpoint: Path, name: str) -> str:
    from colorlab.export.card import read_evaluation, write_card

    if settings.evaluation is None:
        return write_card(model, name, None)
    return write_card(model, name, read_evaluation(settings.evaluation, sha256_of(checkpoint)))


def _move(part: Path, out: Path) -> None:
    """Replace `out` by the written file; in a folder, replace the files of the same names."""
    if part.is_dir() and out.is_dir():
        for file in part.iterdir():
            os.replace(file, out / file.name)
    else:
        os.replace(part, out)
