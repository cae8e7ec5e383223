"""Settings of an experiment that are right by themselves and contradict each other, or lead nowhere."""

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from colorlab import plugins
from colorlab.config import Plan
from colorlab.errors import UserError, did_you_mean, nearest
from colorlab.sweeps.score import direction_of

if TYPE_CHECKING:
    from colorlab.train.experiment import Experiment


def check_together(experiment: "Experiment") -> None:
    """Refuse settings that are right by themselves and contradict each other."""
    if experiment.settings.resume and experiment.trainer_switches.scale_batch:
        raise UserError("trainer.scale_batch=true is for a new run: a resumed one keeps its own batch size.")
    limits = experiment.trainer.arguments
    endless = limits.get("max_epochs") == -1 and limits.get("max_steps", -1) == -1
    if endless and experiment.schedule.accepts("length") and experiment.schedule.arguments.get("length") is None:
        raise UserError("This schedule needs a length, and the training has no last epoch: add schedule.length=N.")
    _check_limits(experiment, limits)
    _check_optimizer(experiment)
    _check_sweep_metric(experiment)
    for name, plan in experiment.callbacks.items():
        _check_measured(experiment, plan.arguments.get("monitor"), f"callbacks.{name}.monitor")


def _check_sweep_metric(experiment: "Experiment") -> None:
    """Refuse a metric that no run of the sweep measures."""
    metric = experiment.sweep.metric
    if metric is None:
        return
    direction_of(metric)
    name = metric.partition("/")[2]
    if name.startswith("loss/"):
        _check_term(experiment.objective, name.removeprefix("loss/"), f"sweep.metric={metric}")
        measured = True
    else:
        measured = name in ("loss", *experiment.settings.metric_names) or "evaluation" in experiment.callbacks
    if not measured or (metric.startswith("test/") and not experiment.settings.test):
        raise UserError(f"sweep.metric={metric} is not measured: see metrics, test and callbacks=evaluation.")


def _check_limits(experiment: "Experiment", limits: Mapping[str, Any]) -> None:
    """Refuse a length with which nothing would be trained."""
    epochs, batches = limits.get("max_epochs"), limits.get("limit_train_batches")
    if epochs is not None and epochs != -1 and epochs < 1:
        raise UserError(f"trainer.max_epochs={epochs} must be at least 1, or -1 for a training without a last epoch.")
    if batches is not None and batches <= 0:
        raise UserError(f"trainer.limit_train_batches={batches} must be above 0: a number of batches, or a share.")
    devices, cores = limits.get("devices"), os.cpu_count() or 1
    if limits.get("accelerator") == "cpu" and isinstance(devices, int) and devices > max(2, cores):
        raise UserError(f"trainer.devices={devices} would start as many processes, and this machine has {cores} cores.")
    if not math.isfinite(lr := experiment.optim.arguments.get("lr") or 0.0):
        raise UserError(f"optim.lr={lr} must be a finite number.")


def _check_measured(experiment: "Experiment", monitor: Any, where: str) -> None:
    """Refuse a misspelled validation metric; a plugin may log metrics of any name."""
    if not isinstance(monitor, str) or not monitor.startswith("val/") or "evaluation" in experiment.callbacks:
        return
    metrics = experiment.settings.metric_names
    known = [f"val/{name}{kind}" for name in ("loss", *metrics) for kind in ("", "_gray", "_true")]
    near = nearest(monitor, known, similarity=0.85)
    if near and monitor not in known and not plugins.packages() and not monitor.startswith("val/loss/"):
        raise UserError(f"{where}={monitor} is not measured: did you mean {near}?")


def _check_optimizer(experiment: "Experiment") -> None:
    """Refuse what would end the training in its first step, or make it wrong."""
    from torch import optim

    trainer, kind = experiment.trainer.arguments, experiment.optim.target
    if kind is optim.SparseAdam:
        raise UserError("optim: SparseAdam is for sparse gradients, which no network here has: optim=adam.")
    if kind is optim.LBFGS and trainer.get("accumulate_grad_batches", 1) != 1:
        raise UserError("optim: LBFGS evaluates a batch several times: leave out trainer.accumulate_grad_batches.")
    scaled = trainer.get("precision") in ("16-mixed", "16", 16)
    if kind is optim.LBFGS and scaled:
        raise UserError("optim: LBFGS does not work in trainer.precision=16-mixed: take bf16-mixed or 32-true.")
    if (kind is optim.LBFGS or scaled) and _has_critic(experiment):
        from colorlab.models.critics import NO_LBFGS, NO_SCALER

        raise UserError(NO_SCALER if scaled else NO_LBFGS)


def _has_critic(experiment: "Experiment") -> bool:
    """Return whether a class in the objective owns a critic; what a function makes is found when it is called."""
    from colorlab.objectives import LearningObjective

    targets = experiment.objective.targets()
    return any(isinstance(target, type) and issubclass(target, LearningObjective) for target in targets)


def _check_term(objective: Plan, term: str, where: str) -> None:
    """Refuse a term of the loss that the objective does not have, as far as it can be told before the training."""
    from colorlab.objectives import Objective, Sum

    if not isinstance(objective.target, type) or not issubclass(objective.target, Objective):
        raise UserError(f"{where} is not measured: {objective.path} has no terms.")
    if issubclass(objective.target, Sum):
        terms = objective.arguments["terms"]
        name, _, inner = term.partition("/")
        if name not in terms:
            raise UserError(f"{where} is not measured, {objective.path} has no such term: {did_you_mean(name, terms)}")
        if inner:
            _check_term(terms[name], inner, where)
