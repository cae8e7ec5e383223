"""Trained weights on disk: read into a model, or with the model they belong to, and written with it.

    *.ckpt            Lightning's checkpoint, of a training
    *.safetensors     the weights, and in the file's metadata what rebuilds the model
    a folder          config.json, which rebuilds the model, and model.safetensors, as Hugging Face lays it out
    *.pth             bare weights, such as the published eccv16's

No reader runs code that a file may hold.
"""

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

import colorlab
from colorlab.config import check_arguments
from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer
from colorlab.models.network import ColorNetwork
from colorlab.runs.checkpoints import BUILT_IN, PRETRAINED, find_checkpoint

CONFIG = "config.json"

Half = Literal["float16", "bfloat16"]


# -- read --------------------------------------------------------------------------------------------


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file or a folder of weights.

    Returns:
        What a checkpoint holds: "state_dict" and, where it says so, "colorizer" and "hyper_parameters".

    Raises:
        UserError: the file is missing or is no checkpoint.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint at {path}.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError, UnpicklingError, …
        raise UserError(f"{path} is not a checkpoint that can be read safely ({type(error).__name__}).") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no weights.")
    return content if "state_dict" in content else {"state_dict": content}


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — it is no dict
        if "colorizer" not in about:
            return {"state_dict": weights}
        arguments = json.loads(about["hyper_parameters"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint that can be read ({type(error).__name__}).") from error
    return {"state_dict": weights, "colorizer": about["colorizer"], "hyper_parameters": arguments}


def _read_folder(folder: Path) -> dict[str, Any]:
    for name in (CONFIG, PRETRAINED):
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}: it is no folder of a model.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        about = {key: config[key] for key in ("colorizer", "hyper_parameters")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / CONFIG} does not say which model of colorlab this is.") from error
    return _read_safetensors(folder / PRETRAINED) | about


def read_weights(model: ColorNetwork, path: Path) -> None:
    """Load the weights at `path`, ours or a bare state dict such as the published eccv16's.

    Raises:
        UserError: the file cannot be read, or its weights do not fit the model.
    """
    _fill(model, read_checkpoint(path)["state_dict"], path)


def load(path: str | Path = BUILT_IN) -> Colorizer:
    """Rebuild a trained model, ready to predict, on the CPU and in float32.

    The file names the model's class and holds the class's arguments; only classes of
    `colorlab.models`, and Colorizers the caller has imported, are built.

    Args:
        path: a checkpoint of a training, an exported .safetensors file, or a folder as
            `save_pretrained` writes it; by default the small one that comes with colorlab.

    Raises:
        UserError: this is no checkpoint of a Colorizer, or its class is not imported.
    """
    checkpoint = read_checkpoint(find_checkpoint(Path(path)) if path == BUILT_IN else path)
    name = checkpoint.get("colorizer")
    if not isinstance(name, str):
        raise UserError(f"{path} does not say which model it holds: pass it as model.weights={path} instead.")
    known = {kind.qualified_name(): kind for kind in _subclasses(Colorizer)}
    if name not in known:
        raise UserError(f"{path} holds a {name}: import it first (known: {', '.join(sorted(known))}).")
    arguments = checkpoint.get("hyper_parameters", {})  # Lightning writes no empty ones
    try:
        _check_plain(arguments)
        model = check_arguments(known[name], arguments).build()
    except (UserError, AttributeError) as error:
        raise UserError(f"{path} holds a {name} that cannot be rebuilt: {error}") from error
    _fill(model, checkpoint["state_dict"], path)
    return model.eval()


def _check_plain(arguments: dict[str, Any]) -> None:
    """Refuse arguments that build more than the model or read another file: checkpoints come from strangers too."""
    for key, value in arguments.items():
        if key == "weights" or (isinstance(value, dict) and "_target_" in value):
            raise UserError(f"{key} is none of the arguments that a checkpoint holds.")


def _fill(model: ColorNetwork, weights: dict[str, Tensor], path: str | Path) -> None:
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{path} holds the weights of another model than {model.title}: {_reason(error)}") from error


def _subclasses(kind: type[Colorizer]) -> list[type[Colorizer]]:
    import colorlab.models  # noqa: F401 — defines the built-in ones

    return [found for child in kind.__subclasses__() for found in (child, *_subclasses(child))]


def _reason(error: RuntimeError | TypeError) -> str:
    """The first complaint of load_state_dict's list."""
    lines = [line.strip() for line in str(error).splitlines()[1:]]
    return lines[0] if lines else str(error)


# -- write -------------------------------------------------------------------------------------------


def write_safetensors(model: ColorNetwork, path: Path, half: Half | None = None) -> None:
    """Write the weights, and in the metadata what rebuilds the model.

    Args:
        model: whose they are.
        path: the file.
        half: keep convolutions in this type, in half the bytes. Norms, biases and statistics stay
            float32: they are few, and a variance may be more than float16 can hold.
    """
    kind = getattr(torch, half) if half else None
    weights = {
        name: value.to(kind if half and value.dim() > 1 else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    path.write_bytes(save(weights, {"format": "pt", "convolutions": half or "float32", **metadata(model)}))


def write_folder(model: ColorNetwork, folder: Path, half: Half | None = None, card: str | None = None) -> None:
    """Write a model as Hugging Face lays it out; files of other names in the folder stay.

    The two files are our own writing. Hugging Face's PyTorchModelHubMixin would have to be a base
    class of Colorizer, so that every install needed huggingface_hub, and it keeps each argument of
    the constructor, `weights` too, which is a path on the machine of the training.

    Args:
        model: what is written.
        folder: where; it need not exist.
        half: as for `write_safetensors`.
        card: the text of README.md, the model card; without one none is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {"architectures": [type(model).__name__], **describe(model)}
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    write_safetensors(model, folder / PRETRAINED, half)
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")


def describe(model: ColorNetwork) -> dict[str, Any]:
    """What rebuilds a model without its weights, in types that JSON knows."""
    return {
        "colorizer": model.qualified_name(),
        "hyper_parameters": dict(model.hparams),
        "colorlab": colorlab.__version__,
    }


def metadata(model: ColorNetwork) -> dict[str, str]:
    """The same as `describe`, for files that hold texts under names."""
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in describe(model).items()}
