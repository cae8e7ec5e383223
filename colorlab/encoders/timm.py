"""Encoders of timm, the collection of pretrained classifiers."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from colorlab.encoders.encoder import Encoder
from colorlab.errors import UserError, did_you_mean
from colorlab.runs.weight_files import read_checkpoint


class TimmEncoder(Encoder):
    """A network of timm, with all its feature maps.

    Args:
        name: as timm knows it, with the tag of its weights, such as "convnext_tiny.fb_in22k".

    Raises:
        UserError: timm is not installed, has no such network, or the network has no feature maps.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str) -> None:
        super().__init__()
        if importlib.util.find_spec("timm") is None:
            raise UserError(f"model.encoder={name} needs timm: pip install timm. The encoder lite0 needs nothing.")
        self.name = name
        _check_name(name)
        try:
            self.trunk = _create(name, features_only=True)
        except (RuntimeError, AttributeError, AssertionError) as error:
            raise UserError(f"model.encoder={name} has no feature maps that a decoder could use.") from error
        config, info = self.trunk.pretrained_cfg, self.trunk.feature_info
        if config.get("fixed_input_size"):
            raise UserError(f"model.encoder={name} takes pictures of one size only: choose a convolutional network.")
        self.channels, self.strides = tuple(info.channels()), tuple(info.reduction())
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(config[key]).view(1, 3, 1, 1), persistent=False)

    def forward(self, rgb: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.trunk((rgb - self.mean) / self.std)
        return maps

    def load_pretrained(self, weights: Path | None = None) -> None:
        path = weights or _cached_file(self.trunk.pretrained_cfg)
        if path is None:
            raise UserError(
                f"The weights of {self.name} are not in timm's cache. Download them with"
                f" python -c \"import timm; timm.create_model('{self.name}', pretrained=True)\","
                " or name a file: model.encoder_weights=FILE."
            )
        read_checkpoint(path)  # checks that the file holds tensors only
        from_file: dict[str, Any] = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
        try:
            _create(self.name, **from_file)  # as a classifier it refuses a file that lacks tensors
            pretrained = _create(self.name, features_only=True, **from_file)
        except (RuntimeError, KeyError, ValueError) as error:
            raise UserError(f"{path} does not hold the weights of {self.name}.") from error
        self.trunk.load_state_dict(pretrained.state_dict())


def _create(name: str, **options: Any) -> Any:
    import timm

    return timm.create_model(name, **options)


def _check_name(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        UserError: says what it may have been meant to be.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, ["lite0", *timm.list_models()])
        if not hint.startswith("did"):  # the list of all networks would fill the screen
            hint = "timm.list_models() returns the names of timm's networks; lite0 is colorlab's own."
        raise UserError(f"model.encoder={name} is no network that timm knows: {hint}")
    tagged = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tagged:
        raise UserError(f"model.encoder={name} has no such weights in timm: {did_you_mean(name, tagged)}")


def _cached_file(config: dict[str, Any]) -> Path | None:
    """Return the file of pretrained weights in the cache of huggingface_hub or of torch, from where timm loads it."""
    from huggingface_hub import try_to_load_from_cache

    if repository := config.get("hf_hub_id"):
        for name in filter(None, (config.get("hf_hub_filename"), "model.safetensors", "pytorch_model.bin")):
            found = try_to_load_from_cache(repository, name)
            if isinstance(found, str):
                return Path(found)
    if url := config.get("url"):
        found_by_url = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
        return found_by_url if found_by_url.exists() else None
    return None
