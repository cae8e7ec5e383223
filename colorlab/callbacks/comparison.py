"""Comparison: ten photographs beside what the network makes of them."""

from pathlib import Path

import torch
import torch.nn.functional as F
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from colorlab.bins import STRIDE, mode
from colorlab.color import lab_to_rgb
from colorlab.metrics import scores
from colorlab.models.colorizer import ColorBatch, Colorizer, Prediction
from colorlab.run_folder import RunFolder

CELL, GAP, CAPTION, HEADER = 192, 6, 22, 30
INK, PAPER = "#222222", "#ffffff"


class Comparison(Callback):
    """Save a sheet of photographs, true | gray | predicted, after each validation and after the test.

    A network that predicts bins gets two columns more: the color of the likeliest bin, and how
    likely it is, from 0 (dark) to 1 (bright). The photographs are spread evenly over the split and
    stay the same from epoch to epoch. Under each picture stands its PSNR against the true one. Sheets
    are `comparison/epochNNN.png` and `comparison/test.png` in the run's folder, and go to the tracker.

    Args:
        count: how many photographs.
    """

    def __init__(self, count: int = 10) -> None:
        self.count = count
        self._wanted: list[int] = []
        self._rows: dict[int, Row] = {}

    def _start(self, total: int) -> None:
        count = min(self.count, total)
        self._wanted = [round(place * (total - 1) / max(count - 1, 1)) for place in range(count)]
        self._rows = {}

    def on_validation_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._start(len(trainer.datamodule.names["val"]))

    def on_test_start(self, trainer: Trainer, model: Colorizer) -> None:
        self._start(len(trainer.datamodule.names["test"]))

    def on_validation_batch_end(
        self, trainer: Trainer, model: Colorizer, outputs: Prediction, batch: ColorBatch, *_: int
    ) -> None:
        if not trainer.sanity_checking:
            for place, index in enumerate(batch.index.tolist()):
                if index in self._wanted:
                    one = slice(place, place + 1)
                    logits = None if outputs.logits is None else outputs.logits[one]
                    self._rows[index] = Row(batch.L[one], batch.ab[one], Prediction(outputs.ab[one], logits))

    on_test_batch_end = on_validation_batch_end

    def on_validation_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._save(trainer, model, "val", f"epoch{trainer.current_epoch:03d}.png")

    def on_test_end(self, trainer: Trainer, model: Colorizer) -> None:
        self._save(trainer, model, "test", "test.png")

    def _gather(self, trainer: Trainer) -> dict[int, "Row"]:
        """The rows of all processes: each has seen a part of the split."""
        if trainer.world_size == 1:
            return self._rows
        parts: list[dict[int, Row]] = [{} for _ in range(trainer.world_size)]
        torch.distributed.all_gather_object(parts, self._rows)
        return {index: row for part in parts for index, row in part.items()}

    def _save(self, trainer: Trainer, model: Colorizer, split: str, file: str) -> None:
        rows = self._gather(trainer)
        if not (trainer.is_global_zero and rows):
            return
        names = trainer.datamodule.photographs[split].name
        named = [(Path(names(index)).stem, row) for index, row in sorted(rows.items())]
        path = RunFolder(trainer.default_root_dir).comparison / file
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = draw_sheet(named)
        picture.save(path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(f"pictures/{split}", [str(path)], step=trainer.global_step)
            elif isinstance(logger, TensorBoardLogger):
                pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
                pixels = pixels.reshape(picture.height, picture.width, 3)
                logger.experiment.add_image(f"pictures/{split}", pixels, trainer.global_step, dataformats="HWC")


class Row:
    """One photograph and its prediction, as pictures with headings and captions.

    Args:
        lightness: L, [1, 1, H, W] in 0..100.
        true: ab, [1, 2, H, W] in -128..127.
        predicted: of this one photograph.
    """

    def __init__(self, lightness: Tensor, true: Tensor, predicted: Prediction) -> None:
        score = scores(lightness, predicted.ab, true)
        self.pictures = {
            "true": _picture(lightness, true),
            "gray": _picture(lightness, torch.zeros_like(true)),
            "predicted": _picture(lightness, predicted.ab),
        }
        self.captions = {"gray": f"{score['psnr_gray'].item():.1f} dB", "predicted": f"{score['psnr'].item():.1f} dB"}
        if predicted.logits is not None:
            likeliest = _enlarge(mode(predicted.logits), lightness)
            confidence = predicted.logits.float().softmax(dim=1).amax(dim=1, keepdim=True)
            self.pictures["mode"] = _picture(lightness, likeliest)
            self.captions["mode"] = f"{scores(lightness, likeliest, true)['psnr'].item():.1f} dB"
            shown = colormaps["viridis"](_enlarge(confidence, lightness)[0, 0].cpu().numpy(), bytes=True)
            self.pictures["confidence"] = Image.fromarray(shown).convert("RGB")
            self.captions["confidence"] = f"mean {confidence.mean().item():.2f}"


def _picture(lightness: Tensor, ab: Tensor) -> Image.Image:
    return to_pil_image(lab_to_rgb(lightness, ab)[0].cpu())


def _enlarge(small: Tensor, lightness: Tensor) -> Tensor:
    """What belongs to the logits' pixels, [1, C, h, w], at the picture's size: [1, C, H, W]."""
    height, width = lightness.shape[-2:]
    return F.interpolate(small, scale_factor=STRIDE, mode="bilinear")[..., :height, :width]


def draw_sheet(rows: list[tuple[str, Row]]) -> Image.Image:
    """Draw named rows of pictures under their headings, in two blocks side by side."""
    half = (len(rows) + 1) // 2
    blocks = 2 if len(rows) > 1 else 1
    headings = list(rows[0][1].pictures)
    block_width = len(headings) * (CELL + GAP) + 2 * GAP
    sheet = Image.new("RGB", (blocks * block_width + GAP, HEADER + half * (CELL + CAPTION + GAP)), PAPER)
    draw = ImageDraw.Draw(sheet)
    title, small = ImageFont.load_default(18), ImageFont.load_default(14)
    for block in range(blocks):
        for column, heading in enumerate(headings):
            x = 2 * GAP + block * block_width + column * (CELL + GAP)
            draw.text((x + CELL / 2, HEADER / 2), heading, INK, title, anchor="mm")
            for line, (name, row) in enumerate(rows[block * half : (block + 1) * half]):
                y = HEADER + line * (CELL + CAPTION + GAP)
                cell = row.pictures[heading].resize((CELL, CELL), Image.Resampling.BICUBIC)
                sheet.paste(cell, (x, y))
                caption = row.captions.get(heading, _shorten(name, small))
                draw.text((x + CELL / 2, y + CELL + CAPTION / 2), caption, INK, small, anchor="mm")
    return sheet


def _shorten(name: str, font: ImageFont.FreeTypeFont) -> str:
    """Cut a name's beginning, the part it shares with its neighbors, until it fits under a picture."""
    if font.getlength(name) <= CELL:
        return name
    while font.getlength("…" + name) > CELL:
        name = name[1:]
    return "…" + name
