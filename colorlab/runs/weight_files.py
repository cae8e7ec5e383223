"""Read weights from files, without running code from them. `colorlab.models.weights` lists the formats."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from colorlab.errors import UserError
from colorlab.runs.checkpoints import PRETRAINED

CONFIG = "config.json"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file or a folder of weights.

    Returns:
        The content of a checkpoint: at least "state_dict"; unless the weights are bare also "colorizer", the
        name of the model's class, and "hyper_parameters", its arguments.

    Raises:
        UserError: the file is missing or is not a checkpoint.
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
    if "state_dict" in content:
        return content
    return {"state_dict": content["params"] if isinstance(content.get("params"), dict) else content}


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — not a dict
        if "colorizer" not in metadata:
            return {"state_dict": weights}
        arguments = json.loads(metadata["hyper_parameters"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a checkpoint that can be read ({type(error).__name__}).") from error
    return {"state_dict": weights, "colorizer": metadata["colorizer"], "hyper_parameters": arguments}


def _read_folder(folder: Path) -> dict[str, Any]:
    for name in (CONFIG, PRETRAINED):
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}: it is not the folder of a model.")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        model = {key: config[key] for key in ("colorizer", "hyper_parameters")}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / CONFIG} does not say which model of colorlab this is.") from error
    return _read_safetensors(folder / PRETRAINED) | model
