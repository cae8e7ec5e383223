"""Files of trained weights: read and write them, and rebuild the models they belong to.

    *.ckpt            Lightning's checkpoint of a training
    *.safetensors     the weights; the file's metadata holds the class of the model and its arguments
    a folder          config.json with the class and its arguments, and model.safetensors: Hugging Face's layout
    *.pth, *.bin, …   a bare state dict, or {"params": state dict}, such as the published eccv16's or DDColor's

Reading a file never runs code from it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor

import colorlab
from colorlab.config import Plan, check_arguments, has_target, locate
from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer
from colorlab.models.layouts import recognize
from colorlab.models.network import ColorNetwork
from colorlab.runs.checkpoints import BUILT_IN, PRETRAINED, find_checkpoint
from colorlab.runs.published import fetch, published_folder, published_word
from colorlab.runs.safetensors_check import BLANK, KEY, with_checksum
from colorlab.runs.weight_files import CONFIG, read_checkpoint

LICENSES = (
    "colorlab's code is under the MIT license. The license of the weights is the choice of whoever trained them; the"
    " built-in weights were trained on photographs that are in the public domain or under CC0."
)
"""The license of the code and of the weights, for model cards and for the metadata of exported files."""

ROOM = 10_000_000
"""How many values a model may have beyond twice those in its file before it is built: 40 MB."""

Half = Literal["float16", "bfloat16"]


# -- read --------------------------------------------------------------------------------------------


def read_weights(model: ColorNetwork, path: Path) -> None:
    """Load weights into a model from any of the files above.

    Args:
        model: the model.
        path: one of these files or folders, or the word of a published network.

    Raises:
        UserError: the file cannot be read, or its weights are those of another model.
    """
    path = find_model(path) if published_word(path) else path
    _load_weights(model, _read(path)["state_dict"], path)


def load(path: str | Path = BUILT_IN) -> Colorizer:
    """Rebuild a trained model in evaluation mode, on the CPU and in float32.

    The file names the model's class and its arguments. The class must be colorlab's, of a package that extends
    colorlab (`colorlab.plugins`), or already imported. Bare weights in a layout in which an architecture's authors
    publish theirs are recognized by the names and shapes of the tensors.

    Args:
        path: the folder of a run, for its best checkpoint; a checkpoint; an exported .safetensors file; a folder
            written by `save_pretrained`; a file of published weights; or the word of a published network, as "eccv16".
            By default the small model that comes with colorlab.

    Raises:
        UserError: there is no such file, or it holds no model, or one of a class that is not known.
    """
    path = find_model(Path(path))
    checkpoint = _read(path)
    model = _build(checkpoint, path)
    _load_weights(model, checkpoint["state_dict"], path)
    return model.eval()


def find_model(path: Path) -> Path:
    """Return the checkpoint that a path stands for; the weights of a published network are fetched once.

    Args:
        path: as in `load`.

    Raises:
        UserError: there is none, or it cannot be fetched.
    """
    if (word := published_word(path)) is None:
        return find_checkpoint(path, best=True)
    return fetch(word, _check_layout)


def _check_layout(path: Path) -> None:
    """Raise UserError if a file does not hold the weights of a published network."""
    if recognize(read_checkpoint(path)["state_dict"]) is None:
        raise UserError(f"{path} does not hold the weights of a published network.")


def _read(path: Path) -> dict[str, Any]:
    try:
        return read_checkpoint(path)
    except UserError as error:
        if path.parent == published_folder():
            raise UserError(f"{error} Delete it, and it is fetched again.") from error
        raise


def _build(checkpoint: dict[str, Any], path: Path) -> Colorizer:
    """Build the model that a checkpoint names, or whose published layout its weights have."""
    name = checkpoint.get("colorizer")
    if not isinstance(name, str):
        if model := recognize(checkpoint["state_dict"]):
            return model
        raise UserError(f"{path} does not say which model it holds: pass it as model.weights={path} instead.")
    kind = _class_of(name, path)
    arguments = checkpoint.get("hyper_parameters", {})  # Lightning leaves out empty ones
    try:
        _refuse_targets(arguments)
        plan = check_arguments(kind, arguments)
        _refuse_larger(plan, checkpoint["state_dict"])
        rebuilt: Colorizer = plan.build()
    except (UserError, AttributeError) as error:
        raise UserError(f"{path} holds a {name} that cannot be rebuilt: {error}") from error
    return rebuilt


def _class_of(name: str, path: str | Path) -> Callable[..., Any]:
    """Return the class of this name; those defined in a notebook or a script are found if they are imported."""
    imported = {kind.qualified_name(): kind for kind in _subclasses(Colorizer)}
    return imported.get(name) or locate(name, f"{path}: ", Colorizer)


def _refuse_targets(arguments: dict[str, Any]) -> None:
    """Refuse arguments that would build other objects: the file may come from a stranger."""
    for key, value in arguments.items():
        if has_target(value):
            raise UserError(f"{key} must be a plain value.")


def _refuse_larger(plan: Plan, weights: dict[str, Tensor]) -> None:
    """Refuse arguments of a far larger model than the file holds weights of: building it could exceed the memory."""
    try:
        with torch.device("meta"):
            needed = sum(value.numel() for value in plan.build().state_dict().values())
    except RuntimeError:  # of a class that cannot be built without memory
        return
    if needed > ROOM + 2 * (held := sum(value.numel() for value in weights.values())):
        raise UserError(f"it would have {needed:,} values, and the file holds {held:,}.")


def _load_weights(model: ColorNetwork, weights: dict[str, Tensor], path: str | Path) -> None:
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f"{path} holds the weights of another model than {model.title}: {_first_complaint(error)}"
        ) from error


def _subclasses(kind: type[Colorizer]) -> list[type[Colorizer]]:
    return [found for child in kind.__subclasses__() for found in (child, *_subclasses(child))]


def _first_complaint(error: RuntimeError | TypeError) -> str:
    """Return the first item of load_state_dict's list of what does not fit."""
    lines = [line.strip() for line in str(error).splitlines()[1:]]
    return lines[0] if lines else str(error)


# -- write -------------------------------------------------------------------------------------------


def write_safetensors(model: ColorNetwork, path: Path, half: Half | None = None) -> None:
    """Write a model into a safetensors file.

    Args:
        model: the model.
        path: the file.
        half: type of the convolutions' weights, in half the bytes. Norms, biases and statistics stay
            float32: they are few, and a variance may exceed the range of float16.
    """
    dtype: torch.dtype | None = getattr(torch, half) if half else None
    weights = {
        name: value.to(dtype if dtype and value.dim() > 1 else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    about = {"format": "pt", "convolutions": half or "float32", KEY: BLANK, **metadata(model)}
    path.write_bytes(with_checksum(save(weights, about)))


def write_folder(model: ColorNetwork, folder: Path, half: Half | None = None, card: str | None = None) -> None:
    """Write a model into a folder in Hugging Face's layout; other files in the folder stay.

    Hugging Face's PyTorchModelHubMixin is not used: it would have to be a base class of Colorizer, and every
    installation would need huggingface_hub.

    Args:
        model: the model.
        folder: is created if it does not exist.
        half: as in `write_safetensors`.
        card: the text of the model card, README.md; None writes no card.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": [type(model).__name__], **model_config(model)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_safetensors(model, folder / PRETRAINED, half)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")


def model_config(model: ColorNetwork) -> dict[str, Any]:
    """Return the class of a model, its arguments and the version of colorlab, in types that JSON has."""
    return {
        "colorizer": model.qualified_name(),
        "hyper_parameters": dict(model.hparams),
        "colorlab": colorlab.__version__,
    }


def metadata(model: ColorNetwork) -> dict[str, str]:
    """Return `model_config` and the licenses with all values as strings, for the metadata of a file."""
    config = model_config(model) | {"license": LICENSES}
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}
