"""The pictures of a study: photographs, what each model makes of their lightness, and random colors."""

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorlab.color import rgb_to_lab
from colorlab.data import ColorDataModule
from colorlab.data.photographs import Photographs
from colorlab.evaluate.named_models import NamedModel
from colorlab.evaluate.predictor import MultiModelPredictor
from colorlab.images.contact_sheet import picture_of
from colorlab.study.store import VIGILANCE

TRUE = "true"
LONGEST = 384
"""Pictures are shown at most this large, in pixels, so that two stand beside each other."""


class Painter(MultiModelPredictor):
    """Writes each photograph and every fake of it as PNG files of one size, run by `Trainer.predict`.

    Afterwards `painted` says which photographs: those with color.

    Args:
        contestants: who colors.
        data, photographs: where the batches come from.
        folder: where the pictures go, as `picture_path` says.
    """

    def __init__(
        self, contestants: list[NamedModel], data: ColorDataModule, photographs: Photographs, folder: Path
    ) -> None:
        super().__init__(contestants, data, photographs)
        self.folder = folder
        self.painted: list[int] = []

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> None:
        rgb, index = batch
        if not len(index):
            return
        lightness, true = rgb_to_lab(rgb)
        versions = {TRUE: true, VIGILANCE: random_colors(lightness, index), **self.predict_all(rgb)}
        for version, ab in versions.items():
            for place, photograph in enumerate(index.tolist()):
                picture = picture_of(lightness[place, None], ab[place, None])
                picture.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
                path = picture_path(self.folder, version, photograph)
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
        self.painted += index.tolist()


def picture_path(folder: Path, version: str, photograph: int) -> Path:
    """Where the picture of a photograph lies: version is "true", a model, or VIGILANCE."""
    return folder / version / f"{photograph:05d}.png"


def random_colors(lightness: Tensor, index: Tensor) -> Tensor:
    """Blots of strong color that have nothing to do with the picture: L [B, 1, H, W] → ab [B, 2, H, W]."""
    blots = [torch.rand(3, 3, generator=torch.Generator().manual_seed(seed)) for seed in index.tolist()]
    angle = torch.stack(blots)[:, None] * 2 * torch.pi
    small = torch.cat((angle.cos(), angle.sin()), dim=1).to(lightness.device) * 70
    return F.interpolate(small, lightness.shape[-2:], mode="bicubic")
