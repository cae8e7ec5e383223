"""Reading trained weights: into a model, or with the model they belong to."""

from pathlib import Path
from typing import Any

import torch

from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a file of weights; never runs code that the file may hold.

    Returns:
        Lightning's checkpoint, or a bare state dict under the key "state_dict".

    Raises:
        UserError: the file is missing or is no checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no checkpoint at {path}.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises KeyError, EOFError, RuntimeError, UnpicklingError, …
        raise UserError(f"{path} is not a checkpoint that can be read safely ({type(error).__name__}).") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{path} holds no weights.")
    return content if "state_dict" in content else {"state_dict": content}


def read_weights(model: Colorizer, path: Path) -> None:
    """Load the weights at `path`, ours or a bare state dict such as the published eccv16's.

    Raises:
        UserError: the file cannot be read, or its weights do not fit the model.
    """
    weights = read_checkpoint(path)["state_dict"]
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(f"{path} holds the weights of another model than {model.title}: {_reason(error)}") from error


def load(path: str | Path) -> Colorizer:
    """Rebuild the model that a checkpoint of ours was trained with, ready to predict, on the CPU.

    The checkpoint names its class and holds the class's arguments; only classes of
    `colorlab.models`, and Colorizers the caller has imported, are built.

    Raises:
        UserError: the file is no checkpoint of a Colorizer, or its class is not imported.
    """
    checkpoint = read_checkpoint(path)
    name = checkpoint.get("colorizer")
    if name is None:
        raise UserError(f"{path} does not say which model it holds: pass it as model.weights={path} instead.")
    known = {kind.qualified_name(): kind for kind in _subclasses(Colorizer)}
    if name not in known:
        raise UserError(f"{path} holds a {name}: import it first (known: {', '.join(sorted(known))}).")
    model = known[name](**checkpoint.get("hyper_parameters", {}))  # Lightning leaves out none at all
    model.load_state_dict(checkpoint["state_dict"])
    return model.eval()


def _subclasses(kind: type[Colorizer]) -> list[type[Colorizer]]:
    import colorlab.models  # noqa: F401 — defines the built-in ones

    return [found for child in kind.__subclasses__() for found in (child, *_subclasses(child))]


def _reason(error: RuntimeError) -> str:
    """The first complaint of load_state_dict's list."""
    lines = [line.strip() for line in str(error).splitlines()[1:]]
    return lines[0] if lines else str(error)
