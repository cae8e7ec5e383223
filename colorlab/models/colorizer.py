"""Colorizer: a color network and how it learns."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from colorlab.errors import UserError
from colorlab.metrics import IN_TRAINING, Name, scores
from colorlab.models.host_copy import DelayedValue
from colorlab.models.network import ColorNetwork
from colorlab.schedules import Constant, Schedule

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class ColorBatch(Protocol):
    """A batch of photographs that a Colorizer learns from."""

    @property
    def L(self) -> Tensor:
        """[B, 1, H, W] float32, CIE L* in 0..100."""

    @property
    def ab(self) -> Tensor:
        """[B, 2, H, W] float32, CIE a* and b* in -128..127."""

    @property
    def index(self) -> Tensor:
        """[B] int64, the photographs' places in their split."""

    @property
    def hints(self) -> Tensor | None:
        """[B, 3, H, W] float32: ab where they are known, else 0, and a mask of 1 and 0; None without hints."""


class Prediction(NamedTuple):
    """A network's prediction for a batch."""

    ab: Tensor  # [B, 2, H, W] float32
    logits: Tensor | None  # [B, 313, h, w], h and w a quarter of H and W; None without bins


class Colorizer(ColorNetwork, LightningModule):
    """A color network that Lightning trains; base class of all architectures.

    `ColorNetwork` says what a subclass defines. `prepare_training` sets what it is trained with.
    """

    def __init__(self) -> None:
        super().__init__()
        self.objective: nn.Module = nn.MSELoss()
        self.optim: OptimizerFactory = torch.optim.Adam
        self.schedule: Schedule = Constant()
        self.metrics: Sequence[Name] = IN_TRAINING
        self.compile_network = False
        self.plateau_factor = 1.0
        self.epoch_loss = torch.zeros(2)  # sums of loss × pictures and of pictures in this epoch and process
        self._shown_loss = DelayedValue()

    def prepare_training(
        self,
        objective: nn.Module,
        optim: OptimizerFactory,
        schedule: Schedule,
        metrics: Sequence[Name] = IN_TRAINING,
        compile_network: bool = False,
    ) -> None:
        """Set what the model is trained with.

        Args:
            objective: a loss on (predicted ab, true ab), or if its attribute `takes_logits` is true on
                (logits of the bins, true ab).
            optim: returns the optimizer of the parameters.
            schedule: factors of the learning rate and the weight decay over time.
            metrics: names of the metrics of validation and test.
            compile_network: train with `torch.compile`d code, which takes about a minute to compile and
                then makes steps on a GPU faster. Validation, with batches of more sizes, is not compiled.

        Raises:
            UserError: the objective needs bins and the model has none.
        """
        if getattr(objective, "takes_logits", False) and not self.predicts_bins:
            raise UserError(
                f"This objective classifies into color bins, and {self.title} has none: add model.head=bins."
            )
        self.objective, self.optim, self.schedule, self.metrics = objective, optim, schedule, metrics
        self.compile_network = compile_network

    def setup(self, stage: str) -> None:
        """Compile the network for training; compiling a function keeps the names in checkpoints."""
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
        self.epoch_loss = self.epoch_loss.to(self.device)
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
        loss = self.compute_loss(self.raw_output(batch.L, batch.hints), batch.ab)
        pictures = len(batch.L)
        self.epoch_loss[0] += loss.detach() * pictures  # torchmetrics' MeanMetric looks for NaN, which waits for a GPU
        self.epoch_loss[1] += pictures
        if self.shows_progress(batch_idx) and (shown := self._shown_loss.update(loss)) is not None:
            self.log("loss", shown, prog_bar=True, logger=False)
        return loss

    def shows_progress(self, batch_idx: int) -> bool:
        """Return whether the progress bar is updated in this step; doing it in each would slow training down."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by Lightning's logger connector
        return every > 0 and batch_idx % every == 0

    def compute_loss(self, output: Tensor, ab: Tensor) -> Tensor:
        """Return the objective's value for a raw output and the true ab."""
        if getattr(self.objective, "takes_logits", False):
            return self.objective(output, ab)
        return self.objective(self.decode(output, ab.shape[-2:]).float(), ab)

    def on_train_epoch_end(self) -> None:
        """Log the rates and the mean training loss over all processes."""
        group = self.trainer.optimizers[0].param_groups[0]
        self.log_dict({"optim/lr": group["lr"], "optim/weight_decay": group["weight_decay"]})
        # Reduced in this hook, which all processes reach: self.log(..., sync_dist=True) in each step would let the
        # progress bar, which only the first process has, wait for the others forever.
        loss, pictures = self.trainer.strategy.reduce(self.epoch_loss, reduce_op="sum")
        self.log("train/loss", loss / pictures)
        self.epoch_loss = torch.zeros_like(self.epoch_loss)

    def validation_step(  # type: ignore[override]  # Lightning passes outputs of any type to callbacks
        self, batch: ColorBatch, batch_idx: int
    ) -> Prediction:
        """Log the loss and the metrics of a batch of validation or test, and return the prediction."""
        stage = "test" if self.trainer.testing else "val"
        output = self.raw_output(batch.L, batch.hints)
        ab = self.decode(output, batch.L.shape[-2:]).float()
        if len(ab):
            values = {"loss": self.compute_loss(output, batch.ab), **scores(batch.L, ab, batch.ab, self.metrics)}
            for name, value in values.items():
                shown = name in ("loss", "psnr")
                self.log(f"{stage}/{name}", value.mean(), prog_bar=shown, batch_size=len(ab), sync_dist=True)
        return Prediction(ab, output if self.predicts_bins else None)

    test_step = validation_step  # type: ignore[assignment]  # as above

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the name of the class, and the sums for the epoch's loss of each process."""
        sums = self.all_gather(self.epoch_loss)
        assert isinstance(sums, Tensor)
        checkpoint["colorizer"] = self.qualified_name()
        checkpoint["learned"] = sums.reshape(-1, 2).tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the sums for the epoch's loss, in equal shares if the number of processes has changed."""
        sums = torch.tensor(checkpoint.get("learned", [[0.0, 0.0]]))
        same_number = len(sums) == self.trainer.world_size
        self.epoch_loss = sums[self.global_rank] if same_number else sums.sum(dim=0) / self.trainer.world_size


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
