"""Colorizer: a color network and how it learns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from colorlab.errors import UserError
from colorlab.metrics import IN_TRAINING, scores
from colorlab.models.host_copy import DelayedValue
from colorlab.models.losses import Losses
from colorlab.models.network import ColorNetwork
from colorlab.objectives import ColorBatch, Prediction
from colorlab.schedules import Constant, Schedule

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class Colorizer(ColorNetwork, LightningModule):
    """A color network that Lightning trains; base class of all architectures.

    `ColorNetwork` says what a subclass defines. `prepare_training` sets what it is trained with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss_terms = Losses(nn.MSELoss())
        self.optim: OptimizerFactory = torch.optim.Adam
        self.schedule: Schedule = Constant()
        self.metrics: Sequence[str] = IN_TRAINING
        self.compile_network = False
        self.plateau_factor = 1.0
        self._shown_loss = DelayedValue()

    def prepare_training(
        self,
        objective: nn.Module,
        optim: OptimizerFactory,
        schedule: Schedule,
        metrics: Sequence[str] = IN_TRAINING,
        compile_network: bool = False,
    ) -> None:
        """Set what the model is trained with.

        Args:
            objective: an `Objective`, or a loss on (predicted ab, true ab). It is no submodule of the model: what it
                owns is not in the model's parameters, nor in its state dict.
            optim: returns the optimizer of the parameters.
            schedule: factors of the learning rate and the weight decay over time.
            metrics: names of the metrics of validation and test.
            compile_network: train with `torch.compile`d code, which takes about a minute to compile and
                then makes steps on a GPU faster. Validation, with batches of more sizes, is not compiled.

        Raises:
            UserError: the objective needs bins and the model has none.
        """
        losses = Losses(objective)
        if losses.take_logits and not self.predicts_bins:
            raise UserError(
                f"This objective classifies into color bins, and {self.title} has none: add model.head=bins."
            )
        self.loss_terms, self.optim, self.schedule, self.metrics = losses, optim, schedule, metrics
        self.compile_network = compile_network

    def setup(self, stage: str) -> None:
        """Compile the network for training, and move the losses to the device.

        Compiling a function keeps the names in checkpoints.
        """
        self.loss_terms.to(self.trainer.strategy.root_device)
        if stage == "fit" and self.compile_network:
            self._compiled_network = torch.compile(self.network, dynamic=False)

    def teardown(self, stage: str) -> None:
        self._compiled_network = None

    def configure_optimizers(self) -> Optimizer:
        return self.optim(self.parameters())

    def on_train_start(self) -> None:
        """Replace the optimizer settings of a resumed checkpoint by the configured ones."""
        optimizer = self.trainer.optimizers[0]
        for group in optimizer.param_groups:
            group.update({key: value for key, value in optimizer.defaults.items() if key in group})
            _match_state_to_weights(group, optimizer.state)
        self._shown_loss = DelayedValue()

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Set the learning rate and the weight decay of the step."""
        batch_idx -= batch_idx % self.trainer.accumulate_grad_batches  # accumulated batches are one step
        lr, weight_decay = self.effective_rates(self.current_epoch + batch_idx / self.trainer.num_training_batches)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"], group["weight_decay"] = lr, weight_decay

    def effective_rates(self, epoch: float) -> tuple[float, float]:
        """Return the learning rate and the weight decay at a fractional epoch: base × schedule × plateau factor."""
        base = self.trainer.optimizers[0].defaults
        return (
            base["lr"] * self.schedule.lr_factor(epoch) * self.plateau_factor,
            base["weight_decay"] * self.schedule.weight_decay_factor(epoch) * self.plateau_factor,
        )

    def training_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        loss = self.loss_terms.in_training(_predict(self, batch), batch)
        if self.shows_progress(batch_idx) and (shown := self._shown_loss.update(loss)) is not None:
            self.log("loss", shown, prog_bar=True, logger=False)
        return loss

    def shows_progress(self, batch_idx: int) -> bool:
        """Return whether the progress bar is updated in this step; doing it in each would slow training down."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning's logger connector
        return every > 0 and batch_idx % every == 0

    def on_train_epoch_end(self) -> None:
        """Log the rates, and the mean training loss and its terms over all processes."""
        group = self.trainer.optimizers[0].param_groups[0]
        self.log_dict({"optim/lr": group["lr"], "optim/weight_decay": group["weight_decay"]})
        # Reduced in this hook, which all processes reach: self.log(..., sync_dist=True) in each step would let the
        # progress bar, which only the first process has, wait for the others forever.
        self.log_dict(self.loss_terms.epoch_means(partial(self.trainer.strategy.reduce, reduce_op="sum")))

    def validation_step(  # type: ignore[override]  # Lightning passes outputs of any type to callbacks
        self, batch: ColorBatch, batch_idx: int
    ) -> Prediction:
        """Log the loss and the metrics of a batch of validation or test, and return the prediction."""
        stage = "test" if self.trainer.testing else "val"
        prediction = _predict(self, batch)
        if pictures := len(batch.L):
            values = {
                **self.loss_terms.in_validation(prediction, batch),
                **scores(batch.L, prediction.ab, batch.ab, self.metrics),
            }
            for name, value in values.items():
                shown = name in ("loss", "psnr")
                self.log(f"{stage}/{name}", value.mean(), prog_bar=shown, batch_size=pictures, sync_dist=True)
        return prediction

    test_step = validation_step  # type: ignore[assignment]  # as above

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the name of the class, and the state of the losses."""
        checkpoint["colorizer"] = self.qualified_name()
        self.loss_terms.save(checkpoint, self.all_gather)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of the losses."""
        self.loss_terms.load(checkpoint, self.global_rank, self.trainer.world_size)


def _predict(model: ColorNetwork, batch: ColorBatch) -> Prediction:
    output = model.raw_output(batch.L, batch.hints)
    return Prediction(lambda: model.decode(output, batch.L.shape[-2:]).float(), output if model.predicts_bins else None)


def _match_state_to_weights(group: dict[str, Any], state: Mapping[Tensor, dict[str, Any]]) -> None:
    """Give an optimizer's state, which may come from another machine, the devices and layouts of its weights.

    A fused optimizer on a GPU keeps its step counts there, others keep them on the CPU.
    """
    on_device = group.get("fused") or group.get("capturable")
    for weight in group["params"]:
        moments = state.get(weight, {})
        for name, value in moments.items():
            if name == "step" and isinstance(value, Tensor):
                moments[name] = value.to(weight.device if on_device else "cpu")
            elif isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                moments[name] = torch.empty_like(weight, requires_grad=False).copy_(value)
