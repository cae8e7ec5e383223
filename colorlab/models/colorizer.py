"""Colorizer: the training life that every model shares."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from colorlab.metrics import color_psnr
from colorlab.schedules import Constant, Schedule

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class ColorBatch(Protocol):
    """What a Colorizer learns from: lightness [B, 1, H, W] and color [B, 2, H, W]."""

    L: Tensor
    ab: Tensor


class Colorizer(LightningModule):
    """A network that predicts ab from L, and how it is trained.

    A model is a subclass with its layers, a `multiple_of`, and `network(lightness)`. Its constructor's
    arguments are the architecture and nothing else, so that `Class(**hyper_parameters)` rebuilds it.
    """

    multiple_of: int = 1
    """Height and width the network can take are multiples of this; `forward` pads to it and crops."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="weights")
        self.objective: nn.Module = nn.MSELoss()
        self.optim: OptimizerFactory = torch.optim.Adam
        self.schedule: Schedule = Constant()
        self.plateau_factor = 1.0

    def initialize(self, weights: str | None) -> None:
        """Draw the weights, or read them from the file `weights`.

        Raises:
            UserError: the file is missing, is no checkpoint, or holds another model.
        """
        self.draw_weights()
        if weights is not None:
            from colorlab.models.weights import read_weights  # it names Colorizer, so not at the top

            read_weights(self, Path(weights))

    def draw_weights(self) -> None:
        """Draw He-normal weights and zero biases (He et al. 2015)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def qualified_name(cls) -> str:
        """What a checkpoint calls this class."""
        return f"{cls.__module__}.{cls.__qualname__}"

    @property
    def title(self) -> str:
        """What file names, pictures and messages call this model."""
        return type(self).__name__.lower()

    def network(self, lightness: Tensor) -> Tensor:
        """Predict ab. lightness: [B, 1, H, W] in 0..100, H and W multiples of `multiple_of`."""
        raise NotImplementedError

    def forward(self, lightness: Tensor) -> Tensor:
        """Predict the colors of gray pictures of any size from 16×16 up.

        Args:
            lightness: L, [B, 1, H, W], CIE L* in 0..100.

        Returns:
            ab: [B, 2, H, W], CIE a* and b* in -128..127.
        """
        lightness = lightness.to(next(self.parameters()).dtype)  # another one under bf16-true
        height, width = lightness.shape[-2:]
        pad_height, pad_width = -height % self.multiple_of, -width % self.multiple_of
        if pad_height or pad_width:
            lightness = F.pad(lightness, (0, pad_width, 0, pad_height), mode="replicate")
        return self.network(lightness)[..., :height, :width]

    # -- training ---------------------------------------------------------------------------------

    def prepare_training(self, objective: nn.Module, optim: OptimizerFactory, schedule: Schedule) -> None:
        """Say what the model learns from: a loss on (predicted ab, true ab), an optimizer, its course."""
        self.objective, self.optim, self.schedule = objective, optim, schedule

    def configure_optimizers(self) -> Optimizer:
        return self.optim(self.parameters())

    def on_train_start(self) -> None:
        """Let the configuration win over what a resumed checkpoint holds of the optimizer's settings."""
        optimizer = self.optimizers()
        for group in optimizer.param_groups:
            group.update({key: value for key, value in optimizer.defaults.items() if key in group})

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        self.apply_schedule(self.current_epoch + batch_idx / self.trainer.num_training_batches)

    def apply_schedule(self, epoch: float) -> None:
        """Set lr and weight decay: base × schedule's factor at `epoch` × plateau factor."""
        lr, weight_decay = self.effective(epoch)
        for group in self.optimizers().param_groups:
            group["lr"], group["weight_decay"] = lr, weight_decay

    def effective(self, epoch: float) -> tuple[float, float]:
        """The learning rate and weight decay in force at a (fractional) epoch."""
        base = self.optimizers().defaults
        return (
            base["lr"] * self.schedule.lr_factor(epoch) * self.plateau_factor,
            base["weight_decay"] * self.schedule.weight_decay_factor(epoch) * self.plateau_factor,
        )

    def training_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        loss = self.objective(self(batch.L).float(), batch.ab)
        self.log("loss", loss, prog_bar=True, logger=False)
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(batch.L))
        return loss

    def on_train_epoch_end(self) -> None:
        group = self.optimizers().param_groups[0]
        self.log_dict({"optim/lr": group["lr"], "optim/weight_decay": group["weight_decay"]})

    def validation_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        return self.judge(batch, "val")

    def test_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        return self.judge(batch, "test")

    def judge(self, batch: ColorBatch, stage: str) -> Tensor:
        """Log the loss, the PSNR and the gray picture's PSNR of a batch; return the predicted ab."""
        predicted = self(batch.L).float()
        if len(predicted):
            colored, gray = color_psnr(batch.L, predicted, batch.ab)
            scores = {"loss": self.objective(predicted, batch.ab), "psnr": colored.mean(), "psnr_gray": gray.mean()}
            for name, score in scores.items():
                shown = name != "psnr_gray"
                self.log(f"{stage}/{name}", score, prog_bar=shown, batch_size=len(predicted), sync_dist=True)
        return predicted

    # -- checkpoints ------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["colorizer"] = self.qualified_name()
