"""Colorizer: the training life that every model shares."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from colorlab.bins import STRIDE, annealed_mean
from colorlab.errors import UserError
from colorlab.metrics import IN_TRAINING, Name, scores
from colorlab.models.host_copy import HostCopy
from colorlab.schedules import Constant, Schedule

Picture = TypeVar("Picture")

OptimizerFactory = Callable[[Iterable[nn.Parameter]], Optimizer]


class ColorBatch(Protocol):
    """What a Colorizer learns from: lightness [B, 1, H, W] and color [B, 2, H, W]."""

    L: Tensor
    ab: Tensor


class Prediction(NamedTuple):
    """What a network makes of a batch."""

    ab: Tensor  # [B, 2, H, W] float32
    logits: Tensor | None  # [B, 313, h, w], h and w a quarter of H and W; None without bins


class Colorizer(LightningModule):
    """A network that predicts ab from L, and how it is trained.

    A model is a subclass with its layers, a `multiple_of`, and `network(lightness)`. Its constructor's
    arguments are the architecture and nothing else, so that `Class(**hyper_parameters)` rebuilds it.
    """

    multiple_of: int = 1
    """Height and width the network can take are multiples of this; others are padded, then cropped."""

    predicts_bins: bool = False
    """Whether `network` gives logits of the 313 color bins in place of ab."""

    temperature: float = 0.38
    """At which logits are decoded to ab; see `annealed_mean`."""

    def __init__(self) -> None:
        super().__init__()
        self.save_hyperparameters(ignore="weights")
        self.objective: nn.Module = nn.MSELoss()
        self.optim: OptimizerFactory = torch.optim.Adam
        self.schedule: Schedule = Constant()
        self.metrics: Sequence[Name] = IN_TRAINING
        self.compile_network = False
        self._compiled_network: Callable[[Tensor], Tensor] | None = None
        self.plateau_factor = 1.0
        self.learned = torch.zeros(2)  # loss × pictures, and pictures, of the epoch so far
        self._underway: HostCopy | None = None

    def initialize(self, weights: str | None) -> None:
        """Draw the weights, or read them from the file `weights`.

        They are kept channels-last, the layout in which convolutions are fastest: so is, then, all
        that comes out of them.

        Raises:
            UserError: the file is missing, is no checkpoint, or holds another model.
        """
        self.draw_weights()
        if weights is not None:
            from colorlab.models.weights import read_weights  # it names Colorizer, so not at the top

            read_weights(self, Path(weights))
        self.to(memory_format=torch.channels_last)

    def choose_head(self, head: Literal["ab", "bins"], temperature: float) -> None:
        """Whether the network predicts ab or bins, and at which temperature these are decoded.

        Raises:
            UserError: the temperature is not above 0.
        """
        if temperature <= 0:
            raise UserError(f"model.temperature={temperature:g} must be above 0.")
        self.predicts_bins, self.temperature = head == "bins", temperature

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
        """Predict ab, or with `predicts_bins` the logits of the bins at a quarter of the size.

        lightness: [B, 1, H, W] in 0..100, H and W multiples of `multiple_of`.
        """
        raise NotImplementedError

    def forward(self, lightness: Tensor) -> Tensor:
        """Predict the colors of gray pictures of any size from 16×16 up.

        Args:
            lightness: L, [B, 1, H, W], CIE L* in 0..100.

        Returns:
            ab: [B, 2, H, W], CIE a* and b* in -128..127.
        """
        return self.decode(self.run(lightness), lightness.shape[-2:])

    def run(self, lightness: Tensor) -> Tensor:
        """What the network puts out for pictures of any size, padded to what it can take."""
        lightness = lightness.to(next(self.parameters()).dtype)  # another one under bf16-true
        pad_height, pad_width = (-size % self.multiple_of for size in lightness.shape[-2:])
        if pad_height or pad_width:
            lightness = F.pad(lightness, (0, pad_width, 0, pad_height), mode="replicate")
        network = self._compiled_network if self.training else None
        return (network or self.network)(lightness)

    def decode(self, output: Tensor, size: torch.Size, temperature: float | None = None) -> Tensor:
        """The ab, [B, 2, *size], that an output of the network stands for; bins at another temperature if given."""
        if self.predicts_bins:
            small = annealed_mean(output, temperature or self.temperature).to(output.dtype)
            output = F.interpolate(small, scale_factor=STRIDE, mode="bilinear", align_corners=False)
        height, width = size
        return output[..., :height, :width]

    def colorize(self, image: Picture, **how: Any) -> Picture:
        """Color a PIL image, a NumPy array or a tensor of any size; see `colorlab.models.inference.colorize`."""
        from colorlab.models.inference import colorize

        return colorize(self, image, **how)

    # -- training ---------------------------------------------------------------------------------

    def prepare_training(
        self,
        objective: nn.Module,
        optim: OptimizerFactory,
        schedule: Schedule,
        metrics: Sequence[Name] = IN_TRAINING,
        compile_network: bool = False,
    ) -> None:
        """Say what the model learns from, and how.

        Args:
            objective: a loss on (predicted ab, true ab), or with a true attribute `takes_logits` on
                (logits of the bins, true ab).
            optim: makes the optimizer of the parameters.
            schedule: the optimizer's course.
            metrics: what predictions are judged by in validation and test.
            compile_network: train with `torch.compile`d code: a minute to begin with, then faster
                steps on a GPU. Validation, whose batches come in more sizes, goes on without.

        Raises:
            UserError: the objective wants bins and the model has none.
        """
        if getattr(objective, "takes_logits", False) and not self.predicts_bins:
            raise UserError(
                f"This objective classifies into color bins, and {self.title} has none: add model.head=bins."
            )
        self.objective, self.optim, self.schedule, self.metrics = objective, optim, schedule, metrics
        self.compile_network = compile_network

    def setup(self, stage: str) -> None:
        """Compile in each process of a training. A function is compiled, so no name in a checkpoint changes."""
        if stage == "fit" and self.compile_network:
            self._compiled_network = torch.compile(self.network, dynamic=False)

    def teardown(self, stage: str) -> None:
        self._compiled_network = None

    def configure_optimizers(self) -> Optimizer:
        return self.optim(self.parameters())

    def on_train_start(self) -> None:
        """Let the configuration win over what a resumed checkpoint holds of the optimizer's settings."""
        optimizer = self.optimizers()
        for group in optimizer.param_groups:
            group.update({key: value for key, value in optimizer.defaults.items() if key in group})
            _fit_state(group, optimizer.state)
        self.learned = self.learned.to(self.device)
        self._underway = None

    def on_train_batch_start(self, batch: object, batch_idx: int) -> None:
        batch_idx -= batch_idx % self.trainer.accumulate_grad_batches  # as in the one batch they stand for
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
        loss = self.cost(self.run(batch.L), batch.ab)
        pictures = len(batch.L)
        self.learned[0] += loss.detach() * pictures  # torchmetrics' mean looks for NaN, and so waits for the device
        self.learned[1] += pictures
        if self.shows(batch_idx) and (shown := self._computed(loss)) is not None:
            self.log("loss", shown, prog_bar=True, logger=False)
        return loss

    def _computed(self, loss: Tensor) -> Tensor | None:
        """A loss that is already computed: on a CPU this one, elsewhere the one shown before it, if there was any."""
        if loss.device.type == "cpu":
            return loss
        before, self._underway = self._underway, HostCopy(loss)
        return before and before.get()

    def shows(self, batch_idx: int) -> bool:
        """Whether the progress bar gets the numbers of this step: they cost, so it does not at each."""
        every = self.trainer.log_every_n_steps
        return every > 0 and batch_idx % every == 0

    def cost(self, output: Tensor, ab: Tensor) -> Tensor:
        """What the objective says of the network's output, given the true ab."""
        if getattr(self.objective, "takes_logits", False):
            return self.objective(output, ab)
        return self.objective(self.decode(output, ab.shape[-2:]).float(), ab)

    def on_train_epoch_end(self) -> None:
        group = self.optimizers().param_groups[0]
        self.log_dict({"optim/lr": group["lr"], "optim/weight_decay": group["weight_decay"]})
        # Of all processes, and computed here, where all of them are: were it logged at each step, the
        # progress bar of the first would ask for it alone, and wait for the others for ever.
        loss, pictures = self.trainer.strategy.reduce(self.learned, reduce_op="sum")
        self.log("train/loss", loss / pictures)
        self.learned = torch.zeros_like(self.learned)

    def validation_step(self, batch: ColorBatch, batch_idx: int) -> Prediction:
        return self.judge(batch, "val")

    def test_step(self, batch: ColorBatch, batch_idx: int) -> Prediction:
        return self.judge(batch, "test")

    def judge(self, batch: ColorBatch, stage: str) -> Prediction:
        """Log the loss and the scores of a batch; return what was predicted."""
        output = self.run(batch.L)
        predicted = self.decode(output, batch.L.shape[-2:]).float()
        if len(predicted):
            judgement = {"loss": self.cost(output, batch.ab), **scores(batch.L, predicted, batch.ab, self.metrics)}
            for name, score in judgement.items():
                shown = name in ("loss", "psnr")
                self.log(f"{stage}/{name}", score.mean(), prog_bar=shown, batch_size=len(predicted), sync_dist=True)
        return Prediction(predicted, output if self.predicts_bins else None)

    # -- checkpoints ------------------------------------------------------------------------------

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """The model in a folder, or a file, that holds one of this class: `colorlab.load`, offline.

        Raises:
            UserError: it holds none.
        """
        from colorlab.models.weights import load  # it names Colorizer, so not at the top

        model = load(path)
        if not isinstance(model, cls):
            raise UserError(f"{path} holds a {model.title}, not a {cls.__name__.lower()}.")
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model into a folder, as Hugging Face lays it out: config.json and model.safetensors."""
        from colorlab.models.weights import write_folder

        write_folder(self, Path(folder))

    def published_weights(self, fold_temperature: bool = False) -> dict[str, Tensor]:
        """The weights under the names in which the architecture's authors published theirs.

        Args:
            fold_temperature: let a plain softmax of the logits give what this model's temperature gives.

        Raises:
            UserError: nobody published weights of this architecture.
        """
        raise UserError(f"{self.title} has no published layout: only eccv16 has.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["colorizer"] = self.qualified_name()
        checkpoint["learned"] = self.all_gather(self.learned).reshape(-1, 2).tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the epoch's loss: each process with its own, or other numbers of them with equal shares."""
        learned = torch.tensor(checkpoint.get("learned", [[0.0, 0.0]]))
        same_number = len(learned) == self.trainer.world_size
        self.learned = learned[self.global_rank] if same_number else learned.sum(dim=0) / self.trainer.world_size


def _fit_state(group: dict[str, Any], state: dict[nn.Parameter, dict[str, Any]]) -> None:
    """Bring an optimizer's state, maybe of another machine's checkpoint, to where its kernel wants it.

    A fused one on a GPU counts steps there, the others on the CPU; and its moments lie in memory as
    their weights do.
    """
    on_device = group.get("fused") or group.get("capturable")
    for weight in group["params"]:
        held = state.get(weight, {})
        for name, value in held.items():
            if name == "step" and isinstance(value, Tensor):
                held[name] = value.to(weight.device if on_device else "cpu")
            elif isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                held[name] = torch.empty_like(weight, requires_grad=False).copy_(value)
