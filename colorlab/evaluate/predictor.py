"""Prediction with several models in one pass over photographs."""

from pathlib import Path

from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn

from colorlab.callbacks.bars import LoopBars
from colorlab.color import has_color, rgb_to_lab, to_float
from colorlab.config import Plan
from colorlab.data import ColorDataModule
from colorlab.data.photographs import GRAY, Photographs, Pictures, Skipped
from colorlab.evaluate.named_models import NamedModel
from colorlab.evaluate.protocol import predict_ab


class MultiModelPredictor(LightningModule):
    """Predicts the colors of photographs with several models, run by `Trainer.predict` over batches of `Pictures`.

    Pictures without color are left out: they have nothing to compare a prediction with.

    Args:
        models: the models.
        data, photographs: where the batches come from.
    """

    def __init__(self, models: list[NamedModel], data: ColorDataModule, photographs: Photographs) -> None:
        super().__init__()
        self.named_models, self.data, self.photographs = models, data, photographs
        self.networks = nn.ModuleList(each.model for each in models)  # Lightning moves and casts submodules

    def on_after_batch_transfer(self, batch: Pictures, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """Return the rgb of the pictures with color, [B, 3, H, W] in 0..1, and their indices, [B]."""
        rgb = to_float(batch.rgb)
        gray = ~has_color(rgb_to_lab(rgb)[1])
        skipped = [*batch.skipped, *(Skipped(int(index), GRAY) for index in batch.index[gray])]
        self.data.skipped.note(batch._replace(skipped=skipped), self.photographs)
        return rgb[~gray], batch.index[~gray]

    def predict_all(self, rgb: Tensor) -> dict[str, Tensor]:
        """Return the ab that each model predicts for photographs, [B, 3, H, W] in 0..1, by the model's name."""
        return {each.name: predict_ab(each.model, rgb) for each in self.named_models}


def trainer_of(plan: Plan, folder: Path, loggers: list[Logger]) -> Trainer:
    """Build the Trainer for a `MultiModelPredictor`."""
    progress = [LoopBars()] if plan.arguments.get("enable_progress_bar", True) else []
    plan = plan.with_arguments(**{"enable_model_summary": False} | plan.arguments)
    return plan.build(default_root_dir=folder, logger=loggers, callbacks=progress)
