"""Comparison: a contact sheet of photographs beside the network's predictions."""

from pathlib import Path

import torch
import torch.nn.functional as F
from lightning import Callback, Trainer
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from colorlab.bins import STRIDE, mode
from colorlab.callbacks import datamodule_of
from colorlab.data.splits import Split
from colorlab.files import optional_file
from colorlab.images.contact_sheet import Row, draw_sheet, picture_of, save_sheet
from colorlab.loggers import log_picture
from colorlab.metrics import scores
from colorlab.models.colorizer import Colorizer
from colorlab.objectives import ColorBatch, Prediction
from colorlab.runs.folder import RunFolder


class Comparison(Callback):
    """Save a contact sheet of photographs, true | gray | predicted, after each validation and after the test.

    For a network that predicts bins there are two more columns: the color of the most probable bin, and its
    probability from 0 (dark) to 1 (bright). The photographs are spread evenly over the split and are the same in each
    epoch. The caption of a picture is its PSNR against the true one. The sheets are `comparison/epochNNN.png` and
    `comparison/test.png` in the run's folder, and are sent to the trackers.

    Args:
        count: number of photographs.
    """

    def __init__(self, count: int = 10) -> None:
        self.count = count
        self._chosen: list[int] = []  # indices of photographs
        self._rows: dict[int, Row] = {}

    def _choose(self, trainer: Trainer, split: Split) -> None:
        total = len(datamodule_of(trainer).names[split])
        count = min(self.count, total)
        self._chosen = [round(place * (total - 1) / max(count - 1, 1)) for place in range(count)]
        self._rows = {}

    def on_validation_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._choose(trainer, "val")

    def on_test_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._choose(trainer, "test")

    def on_validation_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: Prediction, batch: ColorBatch, *_: int
    ) -> None:
        if not trainer.sanity_checking:
            for place, index in enumerate(batch.index.tolist()):
                if index in self._chosen:
                    one = slice(place, place + 1)
                    logits = None if outputs.logits is None else outputs.logits[one]
                    self._rows[index] = compare(batch.L[one], batch.ab[one], Prediction(outputs.ab[one], logits))

    on_test_batch_end = on_validation_batch_end  # type: ignore[assignment]  # as the override above

    def on_validation_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._save(trainer, model, "val", f"epoch{trainer.current_epoch:03d}.png")

    def on_test_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._save(trainer, model, "test", "test.png")

    def _gather(self, trainer: Trainer) -> dict[int, Row]:
        """Return the rows of all processes, each of which processed a part of the split."""
        if trainer.world_size == 1:
            return self._rows
        parts: list[dict[int, Row]] = [{} for _ in range(trainer.world_size)]
        torch.distributed.all_gather_object(parts, self._rows)
        return {index: row for part in parts for index, row in part.items()}

    def _save(self, trainer: Trainer, model: Colorizer, split: Split, file: str) -> None:
        rows = self._gather(trainer)
        if not (trainer.is_global_zero and rows):
            return
        name = datamodule_of(trainer).photographs[split].name
        named = [(Path(name(index)).stem, row) for index, row in sorted(rows.items())]
        path = RunFolder(trainer.default_root_dir).comparison / file
        with optional_file(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            save_sheet(draw_sheet(named), path)
            log_picture(trainer.loggers, f"pictures/{split}", path, trainer.global_step, trainer.current_epoch)


def compare(lightness: Tensor, true: Tensor, predicted: Prediction) -> Row:
    """Return the row of one photograph in a contact sheet.

    Args:
        lightness: L, [1, 1, H, W] in 0..100.
        true: ab, [1, 2, H, W] in -128..127.
        predicted: the prediction for this photograph.
    """
    score = scores(lightness, predicted.ab, true, ("psnr",))
    pictures = {
        "true": picture_of(lightness, true),
        "gray": picture_of(lightness, torch.zeros_like(true)),
        "predicted": picture_of(lightness, predicted.ab),
    }
    captions = {"gray": f"{score['psnr_gray'].item():.1f} dB", "predicted": f"{score['psnr'].item():.1f} dB"}
    if predicted.logits is not None:
        likeliest = _enlarge(mode(predicted.logits), lightness)
        confidence = predicted.logits.float().softmax(dim=1).amax(dim=1, keepdim=True)
        pictures["mode"] = picture_of(lightness, likeliest)
        captions["mode"] = f"{scores(lightness, likeliest, true, ['psnr'])['psnr'].item():.1f} dB"
        shown = colormaps["viridis"](_enlarge(confidence, lightness)[0, 0].cpu().numpy(), bytes=True)
        pictures["confidence"] = Image.fromarray(shown).convert("RGB")
        captions["confidence"] = f"mean {confidence.mean().item():.2f} (dark 0, bright 1)"
    return Row(pictures, captions)


def _enlarge(small: Tensor, lightness: Tensor) -> Tensor:
    """Enlarge values of the logits' pixels, [1, C, h, w], to the size of the photograph, [1, C, H, W]."""
    height, width = lightness.shape[-2:]
    return F.interpolate(small, scale_factor=STRIDE, mode="bilinear")[..., :height, :width]
