"""What an objective is given, and what it may be."""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from colorlab.color import lab_to_rgb
from colorlab.errors import UserError


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


class Prediction:
    """A network's prediction for a batch.

    Args:
        ab: [B, 2, H, W] float32, CIE a* and b* in -128..127; or a function that decodes it from the logits, which is
            called when the ab is read for the first time.
        logits: [B, 313, h, w], h and w at least a quarter of H and W; None without bins.
    """

    def __init__(self, ab: Tensor | Callable[[], Tensor], logits: Tensor | None = None) -> None:
        self._ab = ab
        self._rgb: Tensor | None = None
        self.logits = logits

    @cached_property
    def ab(self) -> Tensor:
        """Predicted ab, [B, 2, H, W] float32."""
        return self._ab if isinstance(self._ab, Tensor) else self._ab()

    def rgb(self, L: Tensor) -> Tensor:
        """Return the predicted picture; it is converted at the first call.

        Colors outside sRGB are clipped: no gradient moves them farther out or back in.

        Args:
            L: the batch's, [B, 1, H, W] in 0..100.

        Returns:
            rgb: [B, 3, H, W] float32 in 0..1.
        """
        if self._rgb is None:
            self._rgb = lab_to_rgb(L, self.ab)
        return self._rgb

    def detach(self) -> "Prediction":
        """Return the prediction without its graph: nothing that is computed from it changes the network."""
        return Prediction(lambda: self.ab.detach(), None if self.logits is None else self.logits.detach())


Value = Tensor | Mapping[str, Tensor]
"""What an objective returns: one number, or several by name, which are added up and logged one by one."""


class Objective(nn.Module):
    """Base class of an objective that is given the whole prediction and the batch.

    Any other `nn.Module`, such as torch's losses, is called with (predicted ab, true ab); or, if it has a true
    attribute `takes_logits`, with (logits, true ab).

    Networks that an objective owns, for example that of a perceptual loss, are frozen: they are moved to the device,
    in evaluation mode, never trained, and not in checkpoints. A network that learns belongs to a `LearningObjective`.
    """

    takes_logits: bool = False
    """Whether the objective reads the prediction's logits, which only networks that predict bins have."""

    def forward(self, prediction: Prediction, batch: ColorBatch) -> Value:
        """Return the loss to minimize: a number, or numbers by name.

        The names are the same in each step, and the numbers include their weights.
        """
        raise NotImplementedError


class LearningObjective(Objective):
    """Base class of an objective with a network that learns beside the color network, such as a critic.

    In each step `learn` is called first, with a prediction that is detached from the network, and its gradients are
    kept. Then the objective is called, with the critic's weights frozen. At the end of the step the network's
    optimizer and the critic's take their steps together. The schedule's and the plateau's factors multiply the
    critic's learning rate, too, and `gradient_clip_val` clips the gradients of each critic as it clips the network's.

    `critic.state_dict()` and the optimizer's state are in the checkpoint. In validation the critic is in evaluation
    mode, and `learn` is not called.
    """

    critic: nn.Module
    """The network that learns. All others of the objective are frozen."""

    def configure_optimizer(self) -> Optimizer:
        """Return an optimizer of the critic's parameters."""
        raise NotImplementedError

    def learn(self, prediction: Prediction, batch: ColorBatch) -> Value:
        """Return the critic's own loss, which is logged as `critic`; or several by name, logged as `critic/NAME`."""
        raise NotImplementedError


def terms_of(objective: nn.Module, prediction: Prediction, batch: ColorBatch) -> dict[str, Tensor]:
    """Return an objective's value as terms by name; a value that is one number has the name "".

    Raises:
        UserError: the objective returns something else than numbers.
    """
    if isinstance(objective, Objective):
        return named_terms(objective(prediction, batch), objective)
    predicted = prediction.logits if getattr(objective, "takes_logits", False) else prediction.ab
    return named_terms(objective(predicted, batch.ab), objective)


def named_terms(value: Value, objective: nn.Module) -> dict[str, Tensor]:
    """Return a value as terms by name, as `terms_of` does.

    Raises:
        UserError: it is something else than numbers.
    """
    terms = dict(value) if isinstance(value, Mapping) else {"": value}
    if not terms:
        raise UserError(f"{type(objective).__name__} returns no terms.")
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.numel() != 1:
            found = f"shape {list(term.shape)}" if isinstance(term, Tensor) else f"type {type(term).__name__}"
            raise UserError(f"{type(objective).__name__} returns {name or 'a value'} of {found}, and not one number.")
    return {name: term.reshape(()) for name, term in terms.items()}
