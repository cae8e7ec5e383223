"""Pruning: a search stops runs that are worse than earlier ones at the same epoch."""

from pathlib import Path

from lightning import Callback, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from colorlab.errors import Pruned, UserError
from colorlab.models.colorizer import Colorizer
from colorlab.sweeps.search import import_optuna, load_trial


class Pruning(Callback):
    """Report the run's value to the search after each validation; stop if it is worse than the median at that epoch.

    Args:
        monitor: name of the logged value that the search optimizes.
        study: the search's file.
        trial: number of this run's trial.
        startup: number of runs that must have ended before any is stopped.
        warmup: number of epochs in which no run is stopped.

    Raises:
        UserError: warmup is negative, or Optuna is not installed.
        Pruned: in training.
    """

    def __init__(self, monitor: str, study: str, trial: int, startup: int = 10, warmup: int = 5) -> None:
        if warmup < 0:
            raise UserError(f"callbacks.pruning.warmup={warmup} must be at least 0.")
        pruner = import_optuna().pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=warmup)
        self.monitor, self.pruner = monitor, pruner
        self.file, self.number = Path(study), trial

    def setup(self, trainer: Trainer, model: Colorizer, stage: str) -> None:
        if stage == TrainerFn.FITTING and trainer.is_global_zero:
            self.trial = load_trial(self.file, self.number, self.pruner)

    def on_validation_end(self, trainer: Trainer, model: Colorizer) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or self.monitor not in trainer.callback_metrics:
            return
        value, hopeless = float(trainer.callback_metrics[self.monitor]), False
        if trainer.is_global_zero:
            self.trial.report(value, trainer.current_epoch)
            hopeless = self.trial.should_prune()
        if trainer.strategy.broadcast(hopeless):
            raise Pruned(f"{self.monitor} is {value:.5g} after epoch {trainer.current_epoch}, worse than the median")
