"""Colorizer: a color network and how it learns."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from colorlab.errors import UserError
from colorlab.library_internals import resume_at_epoch
from colorlab.metrics import IN_TRAINING, scores
from colorlab.models.host_copy import DelayedValue
from colorlab.models.losses import Losses
from colorlab.models.network import ColorNetwork
from colorlab.models.parameter_groups import freeze_groups
from colorlab.models.rates import OptimizerFactory, Rates, Unit
from colorlab.objectives import ColorBatch, Prediction
from colorlab.schedules import Constant, Schedule


class Colorizer(ColorNetwork, LightningModule):
    """A color network that Lightning trains; base class of all architectures.

    `ColorNetwork` says what a subclass defines. `prepare_training` sets what it is trained with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loss_terms = Losses(nn.MSELoss())
        self.rates = Rates(torch.optim.Adam, Constant())
        self.metrics: Sequence[str] = IN_TRAINING
        self.compile_network = False
        self._shown_loss = DelayedValue()

    def prepare_training(
        self,
        objective: nn.Module,
        optim: OptimizerFactory,
        schedule: Schedule,
        metrics: Sequence[str] = IN_TRAINING,
        compile_network: bool = False,
        unit: Unit = "epochs",
        decay_norms_and_biases: bool = True,
    ) -> None:
        """Set what the model is trained with.

        Args:
            objective: an `Objective`, or a loss on (predicted ab, true ab). It is no submodule of the model: what it
                owns is not in the model's parameters, nor in its state dict.
            optim: returns the optimizer of parameter groups.
            schedule: factors of the learning rate and the weight decay over time.
            metrics: names of the metrics of validation and test.
            compile_network: train with `torch.compile`d code, which takes about a minute to compile and
                then makes steps on a GPU faster. Validation, with batches of more sizes, is not compiled.
            unit: whether the schedule counts time in epochs or in steps.
            decay_norms_and_biases: whether they take part in the weight decay.

        Raises:
            UserError: the objective needs bins and the model has none.
        """
        losses = Losses(objective)
        if losses.take_logits and not self.predicts_bins:
            raise UserError(
                f"This objective classifies into color bins, and {self.title} has none: add model.head=bins."
            )
        self.loss_terms, self.metrics, self.compile_network = losses, metrics, compile_network
        self.rates = Rates(optim, schedule, unit, decay_norms_and_biases)

    def setup(self, stage: str) -> None:
        """Prepare the losses; for training, freeze parts of the network, and compile it.

        Compiling a function keeps the names in checkpoints.
        """
        self.loss_terms.begin(self.trainer)
        if stage != "fit":
            return
        freeze_groups(self)
        if self.compile_network:
            self._compiled_network = torch.compile(self.network, dynamic=False)

    def teardown(self, stage: str) -> None:
        self._compiled_network = None

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.rates.build_optimizer(self)
        self.loss_terms.critics.check_optimizer(optimizer)
        return optimizer

    def on_fit_start(self) -> None:
        """Fit a checkpoint to the optimizer, which then loads it."""
        self.rates.meet(self.trainer.optimizers[0], self)

    def on_train_start(self) -> None:
        """Go on at the right epoch after a resume, with the configured optimizer settings in place of the saved."""
        resume_at_epoch(self.trainer)
        self.rates.begin(self.trainer)
        self._shown_loss = DelayedValue()

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        """Set the learning rate and the weight decay of the step."""
        self.loss_terms.critics.set_lrs(self.rates.set(self.trainer, batch_idx))

    def training_step(self, batch: ColorBatch, batch_idx: int) -> Tensor:
        loss = self.loss_terms.in_training(_predict(self, batch), batch, self.trainer.accumulate_grad_batches)
        if self.shows_progress(batch_idx) and (shown := self._shown_loss.update(loss)) is not None:
            self.log("loss", shown, prog_bar=True, logger=False, batch_size=len(batch.L))
        return loss

    def shows_progress(self, batch_idx: int) -> bool:
        """Return whether the progress bar is updated in this step; doing it in each would slow training down."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning's logger connector
        return every > 0 and batch_idx % every == 0

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Let the critics take their steps together with the network, and after the callbacks have looked at both."""
        self.loss_terms.critics.step(self.trainer.gradient_clip_val, self.trainer.gradient_clip_algorithm)

    def on_train_epoch_end(self) -> None:
        """Log the rates, and the mean training loss and its terms over all processes."""
        self.log_dict(self.rates.named(self.trainer) | self.loss_terms.critics.lrs())
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
        """Save the name of the class, the state of the losses, and the names of the trained parameters."""
        checkpoint["colorizer"] = self.qualified_name()
        self.loss_terms.save(checkpoint, self.all_gather)
        self.rates.save(checkpoint, self, self.trainer.optimizers)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of the losses."""
        self.loss_terms.load(checkpoint, self.global_rank, self.trainer.world_size)
        if self.trainer.training:
            self.rates.load(checkpoint)


def _predict(model: ColorNetwork, batch: ColorBatch) -> Prediction:
    output = model.raw_output(batch.L, batch.hints)
    return Prediction(lambda: model.decode(output, batch.L.shape[-2:]).float(), output if model.predicts_bins else None)
