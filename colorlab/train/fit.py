"""Train one experiment: from its checked configuration to its best checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from colorlab.command_line import quiet_libraries
from colorlab.config import Plan
from colorlab.errors import Pruned, UserError
from colorlab.files import copy_file
from colorlab.library_internals import call_last
from colorlab.runs.decay_request import drop_stale_request
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_rows
from colorlab.runs.origin import same_losses
from colorlab.runs.status import Status, is_first_process
from colorlab.sweeps.score import best_value
from colorlab.train.console import announce, conclude
from colorlab.train.experiment import Experiment
from colorlab.train.hardware import enough_memory, largest_batch, with_fast_settings
from colorlab.train.processes import check_processes
from colorlab.train.resume import prepare_new_run, starting_checkpoint

if TYPE_CHECKING:
    from lightning import Trainer
    from torch import nn

    from colorlab.callbacks.interruption import Interruption
    from colorlab.data import ColorDataModule
    from colorlab.models import Colorizer
    from colorlab.schedules import Schedule

DEFAULTS = {"log_every_n_steps": 10, "num_sanity_val_steps": 0, "enable_model_summary": False}
"""Arguments of Lightning's Trainer in place of its own defaults."""

DEBUG = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "limit_test_batches": 1}
"""Arguments of Lightning's Trainer with debug=true."""


def train(
    experiment: Experiment, folder: RunFolder, status: Status, interruption: "Interruption", in_sweep: bool = False
) -> float | None:
    """Train one experiment in a run's folder.

    Args:
        experiment: what to train.
        folder: where everything that the run makes is kept.
        status: is told when the training begins; keeps the overrides that a resume repeats.
        interruption: the callback that stops the training on a signal.
        in_sweep: whether other runs follow in this process.

    Returns:
        The best epoch's `sweep.metric`, or the best monitored value if none is given; None if there is neither.

    Raises:
        UserError: the configuration or the data cannot be trained with.
        Interrupted: a signal asked the process to stop.
        Pruned: a search stopped the run.
        Stopped: the run cannot go on, for example because memory ran out.
    """
    experiment = with_fast_settings(experiment)
    from lightning import seed_everything

    quiet_libraries()
    seed_everything(experiment.settings.seed, workers=True, verbose=False)
    checkpoint, first = _prepare_folder(experiment, folder), is_first_process()
    with _tracker_finished():
        data: ColorDataModule = experiment.data.build()
        data.check_training()
        model = _build_model(experiment, start=checkpoint is None)
        if first and checkpoint is None:  # a run killed while colors are counted can be resumed
            folder.write_configuration(experiment.configuration(), status.overrides)
        _prepare(model, experiment, data, folder)
        if experiment.trainer_switches.scale_batch:
            saved = folder.settings("data").get("batch_size") if checkpoint else None  # of a requeued job
            data.batch_size = saved or largest_batch(model, data, experiment.trainer)
            experiment = experiment.with_arguments("data", batch_size=data.batch_size)
            status.add_overrides(f"data.batch_size={data.batch_size}", "trainer.scale_batch=false")
        trainer = _build_trainer(experiment, folder, interruption)
        check_processes(trainer, in_sweep)
        model.loss_terms.critics.check(trainer)
        if first:
            _begin(experiment, folder, status, data)
        _tell_trackers(trainer, experiment, model, folder)
        _fit(trainer, model, data, checkpoint)
        best, score = _best_checkpoint(trainer, folder)
        if experiment.settings.test and data.names["test"]:
            _test(trainer, model, data, best)
        if not first:
            return score
        conclude(trainer, data, folder, best, score, in_sweep)
        if experiment.settings.reproduce:
            print(same_losses(folder, RunFolder(experiment.settings.reproduce)), flush=True)
        return best_value(folder, metric) if (metric := experiment.sweep.metric) else score


def _prepare_folder(experiment: Experiment, folder: RunFolder) -> Path | None:
    """Make the folder ready for a new run, or return the checkpoint that the run goes on from."""
    checkpoint = starting_checkpoint(experiment, folder)
    if checkpoint is not None:
        read_rows(folder.metrics)  # refuses a damaged table now, and not at the end of the epoch
    elif is_first_process():
        prepare_new_run(folder)
    return checkpoint


def _begin(experiment: Experiment, folder: RunFolder, status: Status, data: "ColorDataModule") -> None:
    """Write and print that the run begins: everything in its configuration is checked."""
    folder.write_configuration(experiment.configuration(), status.overrides)
    drop_stale_request(folder)
    status.begin()
    announce(experiment, folder, status, data)


@contextmanager
def _tracker_finished() -> Iterator[None]:
    """Finish the tracker's run at the end, as failed unless the block ends well or was pruned."""
    from colorlab.loggers import finish_tracker

    failed = True
    try:
        yield
        failed = False
    except Pruned:
        failed = False
        raise
    finally:
        finish_tracker(failed)


# -- build -------------------------------------------------------------------------------------------


def _build_model(experiment: Experiment, start: bool) -> "Colorizer":
    """Build the model, frozen in parts; at the start of a training, read the weights that it starts from."""
    from colorlab.models.parameter_groups import freeze
    from colorlab.models.weights import read_weights
    from colorlab.runs.weight_files import checkpoint_typed_as

    model: Colorizer = experiment.model.build()
    switches = experiment.model_switches
    if switches.encoder_lr is not None:
        if not hasattr(model, "encoder"):
            raise UserError(f"model.encoder_lr={switches.encoder_lr:g}: {model.title} has no part named encoder.")
        model.encoder_lr = switches.encoder_lr
    if start and switches.weights:
        with checkpoint_typed_as("model.weights="):
            read_weights(model, Path(switches.weights).expanduser())
    elif start and switches.encoder_weights:
        if not signature(model.load_pretrained_parts).parameters:
            raise UserError(f"model.encoder_weights: load_pretrained_parts of {model.title} takes no file.")
        model.load_pretrained_parts(Path(switches.encoder_weights).expanduser())
    elif start:
        model.load_pretrained_parts()
    freeze(model, switches.freeze or [])
    return model


def _prepare(model: "Colorizer", experiment: Experiment, data: "ColorDataModule", folder: RunFolder) -> None:
    """Give a model its objective, optimizer, schedule and metrics."""
    import torch

    objective = _build_objective(experiment, data, folder)
    model.prepare_training(
        objective,
        experiment.optim.partial(),
        _build_schedule(experiment),
        experiment.settings.metric_names,
        experiment.model_switches.compile,
        experiment.schedule_switches.unit,
        experiment.optim_switches.decay_norms_and_biases,
    )
    model.configure_optimizers()  # refuse wrong arguments now, not when training has begun
    torch.set_float32_matmul_precision("high")


def _build_schedule(experiment: Experiment) -> "Schedule":
    """Build the schedule; a `length` of null is that of the training, if the configuration says it."""
    from torch.optim.lr_scheduler import LRScheduler

    from colorlab.schedules import TorchSchedule

    plan = experiment.schedule
    if isinstance(plan.target, type) and issubclass(plan.target, LRScheduler):
        return TorchSchedule(plan.partial())
    if plan.accepts("length") and plan.arguments.get("length") is None:
        limits = experiment.trainer.arguments
        epochs, steps = limits.get("max_epochs") or -1, limits.get("max_steps") or -1
        if min(epochs, steps) == -1 and experiment.schedule_switches.unit == ("epochs" if steps == -1 else "steps"):
            plan = plan.with_arguments(length=max(epochs, steps))
    schedule: Schedule = plan.build()
    return schedule


def _build_objective(experiment: Experiment, data: "ColorDataModule", folder: RunFolder) -> "nn.Module":
    """Build the objective; each part of it with a `prior` gets that of the photographs, which the run keeps."""

    def with_prior(plan: Plan) -> Plan:
        if not plan.accepts("prior") or plan.arguments.get("prior") is not None:
            return plan
        from colorlab.data.color_histogram import cached_prior, draw_prior, read_prior

        if not folder.prior.exists():
            counted = cached_prior(data)
            draw_prior(counted, folder.prior.with_suffix(".png"))
            copy_file(counted, folder.prior)
        try:
            read_prior(folder.prior)
        except UserError as error:
            raise UserError(f"{error} Delete it, and the colors are counted again.") from error
        return plan.with_arguments(prior=str(folder.prior))

    return experiment.objective.with_nested(with_prior).build()


def _build_trainer(experiment: Experiment, folder: RunFolder, interruption: "Interruption") -> "Trainer":
    from lightning.pytorch.callbacks import ProgressBar

    from colorlab.callbacks.checkpoints import OwnFiles
    from colorlab.callbacks.interruption import GracefulStop

    arguments = DEFAULTS | experiment.trainer.arguments | (DEBUG if experiment.settings.debug else {})
    loggers = [plan.build() for plan in experiment.logger.values()]
    callbacks = [*(plan.build() for plan in experiment.callbacks.values()), interruption, OwnFiles()]
    if not arguments.get("enable_progress_bar", True):
        callbacks = [each for each in callbacks if not isinstance(each, ProgressBar)]
    arguments["enable_progress_bar"] = any(isinstance(each, ProgressBar) for each in callbacks)  # none of Lightning's
    plan = experiment.trainer.with_arguments(**arguments)
    trainer: Trainer = plan.build(default_root_dir=folder.path, logger=loggers, callbacks=callbacks)
    call_last(trainer, GracefulStop)  # so that a checkpoint written on a signal holds what the others did
    return trainer


def _tell_trackers(trainer: "Trainer", experiment: Experiment, model: "Colorizer", folder: RunFolder) -> None:
    """Send the configuration to all trackers, and keep the addresses at which they show the run."""
    from colorlab.loggers import remember_trackers

    cfg = experiment.configuration()
    cfg["model"] |= {"name": model.title, "parameters": sum(weight.numel() for weight in model.parameters())}
    for logger in trainer.loggers:
        logger.log_hyperparams(cfg)
    remember_trackers(trainer.loggers, folder)


# -- run ---------------------------------------------------------------------------------------------


def _fit(trainer: "Trainer", model: "Colorizer", data: "ColorDataModule", checkpoint: Path | None) -> None:
    try:
        with enough_memory(data, trainer):
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except BaseException:
        with suppress(Exception):  # end the data workers now: the garbage collector would wait 5 s for each
            trainer.fit_loop.teardown()
        raise


def _test(trainer: "Trainer", model: "Colorizer", data: "ColorDataModule", best: Path | None) -> None:
    from colorlab.models.weights import read_weights
    from colorlab.runs.weight_files import read_checkpoint

    if best:  # not by ckpt_path: Lightning's weight averaging would put back the weights that are not averaged
        read_weights(model, best)
        model.loss_terms.critics.load_state_dict(read_checkpoint(best).get("critics", {}))
    with enough_memory(data, trainer):
        trainer.test(model, datamodule=data, verbose=False)


def _best_checkpoint(trainer: "Trainer", folder: RunFolder) -> tuple[Path | None, float | None]:
    """Return the best checkpoint and its score.

    If Lightning's file is missing, because the disk was full or the folder was moved, the best by name is
    returned, without a score.
    """
    from lightning.pytorch.callbacks import ModelCheckpoint

    callback = trainer.checkpoint_callback
    if not isinstance(callback, ModelCheckpoint) or not callback.best_model_path:
        return None, None
    score = None if callback.best_model_score is None else float(callback.best_model_score)
    expected = Path(callback.best_model_path)
    for path in (expected, folder.checkpoints.path / expected.name):
        if path.is_file():
            return path, score
    return (folder.checkpoints.best() if folder.checkpoints.exist() else None), None
