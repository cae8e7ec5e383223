"""Read weights from files, without running code from them. `colorlab.models.weights` lists the formats."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from colorlab.errors import UserError, printable
from colorlab.files import read_json
from colorlab.runs.checkpoints import PRETRAINED, Checkpoints
from colorlab.runs.safetensors_check import matches_checksum
from colorlab.runs.zip_check import damage_of, is_zip

CONFIG = "config.json"

REPEATED = 2**26
"""Bytes up to which a tensor may repeat what its file holds once, such as a constant."""


class DamagedCheckpoint(UserError):
    """A file of weights whose contents have changed since it was written, or that cannot be read at all.

    Args:
        complaint: what is wrong with it, a sentence.
        sound: the newest sound checkpoint beside the file.
    """

    def __init__(self, complaint: str, sound: str | None = None) -> None:
        super().__init__(complaint, sound)  # what pickle makes the copy from
        self.complaint, self.sound = complaint, sound

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, word: str = "") -> str:
        """Return what is wrong, and the newest sound checkpoint beside the file, ready to paste.

        Args:
            word: what stands before a checkpoint in the command, such as `resume=`.
        """
        if self.sound is None:
            return self.complaint
        checkpoint = word + shlex.quote(printable(self.sound))
        return f"{self.complaint.removesuffix('.')}: {checkpoint} is the newest sound one beside it."


def _damaged(complaint: str, path: Path) -> DamagedCheckpoint:
    """Return the error to raise about a file, which names the newest sound checkpoint beside it."""
    sound = _newest_sound(path)
    return DamagedCheckpoint(f"{complaint}.", None if sound is None else str(sound))


@contextmanager
def checkpoint_typed_as(word: str) -> Iterator[None]:
    """Name the sound checkpoint beside a damaged one as the command takes it, for example `resume=PATH`."""
    try:
        yield
    except DamagedCheckpoint as error:
        raise UserError(error.sentence(word)) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file or a folder of weights, and check its contents as far as its format allows.

    The members of a zip file, which torch has written since version 1.6, are compared with their checksums, and so is
    a safetensors file of colorlab's. Of other files, only the structure can be checked.

    Returns:
        The content of a checkpoint: at least "state_dict"; unless the weights are bare also "colorizer", the
        name of the model's class, and "hyper_parameters", its arguments.

    Raises:
        DamagedCheckpoint: the file is damaged, or is not a checkpoint.
        UserError: the file is missing, or holds no weights.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint at {path}.")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)


def _read_torch(path: Path) -> dict[str, Any]:
    content = _unpickle(path)
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no weights.")
    if "state_dict" not in content:
        content = {"state_dict": content["params"] if isinstance(content.get("params"), dict) else content}
    weights = content["state_dict"]
    for name, value in weights.items() if isinstance(weights, dict) else ():
        if isinstance(value, Tensor) and _is_larger_than_stored(value):
            raise UserError(f"{path} holds less than it says: {name} is a tensor of {list(value.shape)}.")
    return content


def _unpickle(path: Path) -> Any:
    try:
        if is_zip(path) and (reason := damage_of(path)):
            raise _damaged(f"{path} is damaged ({reason})", path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except DamagedCheckpoint:
        raise
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError, UnpicklingError, …
        complaint = f"{path} is not a checkpoint that can be read safely ({type(error).__name__})"
        raise _damaged(complaint, path) from error


def _is_larger_than_stored(tensor: Tensor) -> bool:
    """Return whether a large tensor repeats what the file holds once: a copy of it could exceed the memory."""
    claimed = tensor.numel() * tensor.itemsize
    return tensor.layout == torch.strided and claimed > max(REPEATED, tensor.untyped_storage().nbytes())


def _newest_sound(damaged: Path) -> Path | None:
    """Return the newest checkpoint in the folder of a damaged one that can be read; None if there is none."""
    for path in Checkpoints(damaged.parent).newest_first():
        if path.name != damaged.name:
            with suppress(Exception):
                if is_zip(path) and damage_of(path) is None:
                    torch.load(path, map_location="cpu", weights_only=True)
                    return path
    return None


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if not matches_checksum(path, metadata):
                raise _damaged(f"{path} is damaged (it does not match its checksum)", path)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 — not a dict
        if "colorizer" not in metadata:
            return {"state_dict": weights}
        arguments = json.loads(metadata["hyper_parameters"])
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        complaint = f"{path} is not a checkpoint that can be read ({type(error).__name__})"
        raise _damaged(complaint, path) from error
    return {"state_dict": weights, "colorizer": metadata["colorizer"], "hyper_parameters": arguments}


def _read_folder(folder: Path) -> dict[str, Any]:
    for name in (CONFIG, PRETRAINED):
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}: it is not the folder of a model.")
    try:
        config = read_json(folder / CONFIG) or {}
        model = {key: config[key] for key in ("colorizer", "hyper_parameters")}
    except (UserError, KeyError) as error:
        raise UserError(f"{folder / CONFIG} does not say which model of colorlab this is.") from error
    return _read_safetensors(folder / PRETRAINED) | model
