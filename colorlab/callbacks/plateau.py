"""PlateauDecay: a lower learning rate and weight decay when a loss stops falling, or on request."""

import logging
import math
from typing import Any, Literal

from lightning import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from colorlab.errors import UserError, did_you_mean
from colorlab.models.colorizer import Colorizer
from colorlab.runs.decay_request import take_decay_request
from colorlab.runs.folder import RunFolder

log = logging.getLogger(__name__)


class PlateauDecay(Callback):
    """Multiply the learning rate and the weight decay by `factor` on a plateau or on request.

    A plateau is `patience` validations in which the monitored value does not improve by more than `min_delta`. A
    person requests a decay with `python -m colorlab.decay RUN_FOLDER`; it takes effect at the end of the epoch. The
    product of all decays multiplies the schedule's factors for all parameter groups, and survives a resume.

    Args:
        monitor: name of the logged value.
        mode: whether the value should fall ("min") or rise ("max").
        patience: number of validations without progress before a decay; None decays on request only.
        factor: factor of one decay.
        min_delta: an improvement up to this is no progress.
        min_lr: no decay lowers the learning rate of a parameter group, or of a critic, below this.

    Raises:
        UserError: factor or patience is out of range, or in training the monitored value is not logged.
    """

    def __init__(
        self,
        monitor: str = "val/loss",
        mode: Literal["min", "max"] = "min",
        patience: int | None = 10,
        factor: float = 0.1,
        min_delta: float = 0.0,
        min_lr: float = 0.0,
    ) -> None:
        if not 0 < factor < 1:
            raise UserError(f"callbacks.plateau.factor={factor:g} must lie between 0 and 1.")
        if patience is not None and patience < 1:
            raise UserError(f"callbacks.plateau.patience={patience} must be at least 1, or null for by hand only.")
        self.monitor, self.mode, self.patience = monitor, mode, patience
        self.factor, self.min_delta, self.min_lr = factor, min_delta, min_lr
        self.best = math.inf
        self.waited = 0
        self.decays: list[int] = []
        self.plateau_factor = 1.0

    def on_train_start(self, trainer: Trainer, model: Colorizer) -> None:
        """Apply the decays of a resumed run."""
        model.rates.plateau_factor, model.rates.min_lr = self.plateau_factor, self.min_lr

    def on_train_epoch_end(self, trainer: Trainer, model: Colorizer) -> None:
        """Decay on request, at the end of the epoch, so that it also works without validation."""
        requested = trainer.is_global_zero and take_decay_request(RunFolder(trainer.default_root_dir))
        if trainer.strategy.broadcast(requested):
            self.decay(trainer, model, "on request")
        model.log("optim/decays", float(len(self.decays)))

    def on_validation_end(self, trainer: Trainer, model: Colorizer) -> None:
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or self.patience is None:
            return
        if self.monitor not in trainer.callback_metrics:
            hint = did_you_mean(self.monitor, list(trainer.callback_metrics))
            raise UserError(f"callbacks.plateau.monitor={self.monitor} is not logged; {hint}")
        value = float(trainer.callback_metrics[self.monitor])
        value = value if self.mode == "min" else -value
        if value < self.best - self.min_delta:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.decay(trainer, model, f"after {self.patience} validations without progress of {self.monitor}")

    def decay(self, trainer: Trainer, model: Colorizer, why: str) -> None:
        """Apply one decay, and wait `patience` validations again before the next."""
        self.waited = 0
        lr = model.rates.highest(trainer)
        factor = self.factor if lr == 0 else min(1.0, max(self.factor, self.min_lr / lr))
        if math.isclose(factor, 1.0):
            log.info("No decay %s: the learning rate is at its minimum, %g.", why, lr)
            return
        self.plateau_factor *= factor
        self.decays.append(trainer.current_epoch)
        model.rates.plateau_factor = self.plateau_factor
        log.info("Decay in epoch %d, %s: learning rate %g → %g.", trainer.current_epoch, why, lr, lr * factor)

    def state_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("best", "waited", "decays", "plateau_factor")}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for key, value in state_dict.items():
            setattr(self, key, value)
