"""The pictures of a study: photographs, the predictions of each model, and random colors."""

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
from colorlab.study.trials import VIGILANCE

TRUE = "true"
MAX_SIDE = 384
"""The largest side of the pictures, in pixels; two fit beside each other on a screen."""


class PictureWriter(MultiModelPredictor):
    """Writes each photograph and its fakes as PNG files of one size, run by `Trainer.predict`.

    After the pass, `written` holds the indices of the photographs, all of which have color.

    Args:
        models: the models whose pictures are the fakes.
        data, photographs: where the batches come from.
        folder: where `picture_path` puts the pictures.
    """

    def __init__(self, models: list[NamedModel], data: ColorDataModule, photographs: Photographs, folder: Path) -> None:
        super().__init__(models, data, photographs)
        self.folder = folder
        self.written: list[int] = []

    def predict_step(self, batch: tuple[Tensor, Tensor]) -> None:
        rgb, index = batch
        if not len(index):
            return
        lightness, true = rgb_to_lab(rgb)
        versions = {TRUE: true, VIGILANCE: random_colors(lightness, index), **self.predict_all(rgb)}
        for version, ab in versions.items():
            for place, photograph in enumerate(index.tolist()):
                picture = picture_of(lightness[place, None], ab[place, None])
                picture.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
                path = picture_path(self.folder, version, photograph)
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
        self.written += index.tolist()


def picture_path(folder: Path, version: str, photograph: int) -> Path:
    """Return the file of a picture; the version is "true", a model, or VIGILANCE."""
    return folder / version / f"{photograph:05d}.png"


def random_colors(lightness: Tensor, index: Tensor) -> Tensor:
    """Draw blots of saturated color that are unrelated to the picture: L [B, 1, H, W] → ab [B, 2, H, W]."""
    blots = [torch.rand(3, 3, generator=torch.Generator().manual_seed(seed)) for seed in index.tolist()]
    angle = torch.stack(blots)[:, None] * 2 * torch.pi
    small = torch.cat((angle.cos(), angle.sin()), dim=1).to(lightness.device) * 70
    return F.interpolate(small, lightness.shape[-2:], mode="bicubic")
