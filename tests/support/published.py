"""Published networks: the layouts of their files, weights by a rule, and what the released code predicts with these.

`tests/models/references` holds, for each network, the names and shapes of its tensors (.json), and two inputs with the
ab that the authors' code gave for them when each tensor was filled by `fill` (.npz).
"""

import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

REFERENCES = Path(__file__).parents[1] / "models" / "references"


def published_layout(name: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a published network's tensors by name."""
    layout = json.loads((REFERENCES / f"{name}.json").read_text(encoding="utf-8"))
    return {key: tuple(shape) for key, shape in layout.items()}


def reference_predictions(name: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield L, [1, 1, H, W], and the ab that the released code predicts from it."""
    with np.load(REFERENCES / f"{name}.npz") as arrays:
        for size in ("64x64", "64x96"):
            yield torch.from_numpy(arrays[f"L_{size}"]), torch.from_numpy(arrays[f"ab_{size}"])


def fill(module: nn.Module) -> nn.Module:
    """Fill a network by the references' rule, in which each value depends on its tensor's name alone.

    Draws are float64, kept as float32. Integer tensors and the buffers `mean` and `std` stay as they are.
    """
    state = module.state_dict()
    for name in sorted(state):
        value, last = state[name], name.rsplit(".", 1)[-1]
        if value.is_floating_point() and name not in ("mean", "std") and last not in ("weight_u", "weight_v"):
            value.copy_(_filled(name, tuple(value.shape)))
    for name in sorted(state):
        if name.endswith("weight_u"):  # of spectral norm: one step of the power method
            weight = state[f"{name[:-1]}orig"].double().flatten(1)
            v = weight.T @ _draw(name, (len(weight),))
            v /= v.norm()
            u = weight @ v
            state[name].copy_(u / u.norm())
            state[f"{name[:-1]}v"].copy_(v)
    module.load_state_dict(state)
    return module.eval()


def _filled(name: str, shape: tuple[int, ...]) -> Tensor:
    draw, last = _draw(name, shape), name.rsplit(".", 1)[-1]
    if last == "running_var":
        return 0.5 + draw.abs()
    if last in ("bias", "in_proj_bias", "running_mean", "gamma"):
        return 0.1 * draw
    if draw.ndim <= 1:  # the scale of a norm
        return 1 + 0.1 * draw
    if "embed.weight" in name or "query_feat" in name:
        return draw
    return draw / np.sqrt(np.prod(shape[1:]))


def _draw(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape))
