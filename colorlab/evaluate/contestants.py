"""Who is judged, and under which protocol a photograph is put to them."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from colorlab.color import rgb_to_lab
from colorlab.errors import UserError
from colorlab.models.colorizer import Colorizer
from colorlab.models.weights import load
from colorlab.runs.checkpoints import find_checkpoint, sha256_of

Protocol = Literal["stretch256", "native"]
"""How a picture is judged: stretched to 256×256, as the literature does, or at its own size and with its own L.
What sRGB cannot show of the colors is clipped, as in the literature; `colorlab.colorize` keeps L there too."""

SIDE = 256
"""What networks are shown, in pixels, whatever the protocol."""


@dataclass
class Contestant:
    """A trained model under the name that results call it by."""

    name: str
    model: Colorizer
    checkpoint: Path
    sha256: str  # of the file that holds the weights


def read_contestants(paths: list[str]) -> list[Contestant]:
    """The models in these checkpoints, or in the best checkpoints of these run folders.

    Each is named after what was given, its file or its run's folder; where two have one name, as many of
    the folders around them stand before it as tell them apart.

    Raises:
        UserError: there is no such checkpoint, the same one twice, or it holds no model of ours.
    """
    files = [find_checkpoint(Path(path).expanduser(), best=True).resolve() for path in paths]
    if twice := [str(file) for file, count in Counter(files).items() if count > 1]:
        raise UserError(f"checkpoint names {twice[0]} twice.")
    given = [Path(path).expanduser().resolve() for path in paths]
    roads = [
        path.parts[1:] if path.is_dir() else (*_around(file).parts[1:], file.stem)
        for path, file in zip(given, files, strict=True)
    ]
    return [
        Contestant(name, load(file), file, sha256_of(file)) for name, file in zip(_names(roads), files, strict=True)
    ]


def _around(file: Path) -> Path:
    """The folder around a checkpoint that tells whose it is: its run's."""
    return file.parent.parent if file.parent.name == "checkpoints" else file.parent


def _names(roads: list[tuple[str, ...]]) -> list[str]:
    """Each road's last word, and before it as many as tell it from the others."""
    words, names, taken = [1] * len(roads), [], Counter()
    for _ in range(max(map(len, roads), default=0)):
        names = ["_".join(road[-count:]) for road, count in zip(roads, words, strict=True)]
        taken = Counter(names)
        words = [count + (taken[name] > 1) for name, count in zip(names, words, strict=True)]
    if twice := [road[-1] for road, name in zip(roads, names, strict=True) if taken[name] > 1]:
        raise UserError(f"Two checkpoints have the same name, {twice[0]}: rename one.")
    return names


def fix_reading(arguments: dict[str, Any], protocol: Protocol) -> None:
    """Set the arguments of `ColorDataModule` that a protocol decides.

    Raises:
        UserError: they were set to something else.
    """
    fixed = {"size": SIDE} if protocol == "stretch256" else {"size": None, "batch_size": 1}
    for key, value in fixed.items():
        if arguments.get(key, value) != value:
            raise UserError(f"data.{key}={arguments[key]} is not protocol={protocol}: leave it away.")
    arguments |= fixed


def color(model: Colorizer, rgb: Tensor) -> Tensor:
    """Let a model color photographs as a protocol shows them.

    The network sees the L of the picture at 256×256; the ab it predicts is brought to the picture's
    own size, there to be joined with the picture's own L.

    Args:
        rgb: [B, 3, H, W] in 0..1.

    Returns:
        ab: [B, 2, H, W] float32, in -128..127.
    """
    size = rgb.shape[-2:]
    if size == (SIDE, SIDE):
        return model(rgb_to_lab(rgb)[0]).float()
    shown = F.interpolate(rgb, (SIDE, SIDE), mode="bilinear", antialias=True).clamp(0, 1)
    return F.interpolate(model(rgb_to_lab(shown)[0]).float(), size, mode="bilinear", align_corners=False)
