"""One experiment, from its configuration to its best checkpoint: what `colorlab.train` does for each run."""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorlab.command_line import quiet_libraries
from colorlab.config import Plan
from colorlab.errors import Pruned
from colorlab.files import copy_file, relative
from colorlab.runs.folder import RunFolder
from colorlab.runs.origin import differences, keep_origin, same_losses
from colorlab.runs.resume import begin_anew, checkpoint_of, requeued
from colorlab.runs.status import Status
from colorlab.sweeps.score import best_value
from colorlab.train.experiment import check_experiment
from colorlab.train.hardware import enough_memory, fast_settings, largest_batch
from colorlab.train.processes import check_processes

if TYPE_CHECKING:
    from lightning import Trainer
    from torch import nn

    from colorlab.callbacks.interruption import Interruption
    from colorlab.data import ColorDataModule
    from colorlab.models import Colorizer

DEBUG = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 1, "limit_test_batches": 1}


def train(
    cfg: dict[str, Any], folder: RunFolder, status: Status, interruption: "Interruption", in_sweep: bool = False
) -> float | None:
    """Run one experiment in `folder`.

    Args:
        cfg: the resolved configuration, in plain containers.
        folder: where everything the run makes is kept.
        status: told when the run begins; its overrides are what a resume uses again.
        interruption: stops the training when the process is told to leave.
        in_sweep: whether other runs follow in this process.

    Returns:
        The best epoch's `sweep.metric`, else the best monitored value, or None if there is neither.

    Raises:
        UserError: the configuration or the data cannot be trained with.
        Interrupted: the process is to leave.
        Pruned: a search has seen enough.
        Stopped: it cannot go on as it is, such as for want of memory.
    """
    plans = check_experiment(cfg)
    _choose_fast_settings(cfg, plans)
    from lightning import seed_everything
    from lightning.pytorch.utilities import rank_zero_only

    from colorlab.loggers import finish_tracker

    quiet_libraries()
    seed_everything(cfg["seed"], workers=True, verbose=False)
    begun = requeued(folder) or cfg["resume"]
    checkpoint = checkpoint_of(Path(begun), plans["model"], cfg["trainer"].get("max_epochs")) if begun else None
    first = rank_zero_only.rank == 0
    if first and not begun:
        begin_anew(folder)
    failed = True
    try:
        data: ColorDataModule = plans["data"].build()
        model: Colorizer = plans["model"].build()
        if first and not begun:  # a resume begins it anew if it is killed while colors are counted
            folder.write_configuration(cfg, status.facts["overrides"])
        _prepare(model, data, cfg, plans, folder)
        if cfg["trainer"].get("scale_batch"):
            size = folder.settings("data")["batch_size"] if begun else largest_batch(model, data, plans["trainer"])
            cfg["data"]["batch_size"] = data.batch_size = size
            status.facts["overrides"] += [f"data.batch_size={size}", "trainer.scale_batch=false"]  # for a resume
        trainer = _trainer(cfg, plans, folder, interruption)
        check_processes(trainer, in_sweep)
        if first:
            _begin(cfg, folder, status, data)
        _tell_trackers(trainer, cfg, model, folder)
        best, score = _learn(trainer, model, data, folder, checkpoint, cfg["test"])
        if first:
            _conclude(trainer, data, folder, best, score)
            if cfg["reproduce"]:
                print(same_losses(folder, RunFolder(cfg["reproduce"])), flush=True)
            if metric := cfg["sweep"]["metric"]:
                score = best_value(folder, metric)
        failed = False
        return score
    except Pruned:
        failed = False
        raise
    finally:
        finish_tracker(failed)


def _choose_fast_settings(cfg: dict[str, Any], plans: dict[str, Any]) -> None:
    """Fill in what is fastest on this machine, where nobody chose."""
    one_size = plans["data"].arguments.get("size", 0) is not None
    for group, fast in fast_settings(plans["trainer"], plans["optim"], one_size).items():
        chosen = {key: value for key, value in fast.items() if key not in cfg[group]}
        plans[group].arguments |= chosen
        cfg[group] |= chosen


def _prepare(
    model: "Colorizer", data: "ColorDataModule", cfg: dict[str, Any], plans: dict[str, Any], folder: RunFolder
) -> None:
    """Give a model what it is trained by."""
    import torch

    objective = _objective(plans["objective"], data, folder)
    optim, schedule = plans["optim"].partial(), plans["schedule"].build()
    optim([torch.nn.Parameter(torch.zeros(1))])  # says now, and not when training has begun, what it does not take
    model.prepare_training(objective, optim, schedule, cfg["metrics"], cfg["model"].get("compile", False))
    torch.set_float32_matmul_precision("high")


def _trainer(cfg: dict[str, Any], plans: dict[str, Any], folder: RunFolder, interruption: "Interruption") -> "Trainer":
    from colorlab.callbacks.interruption import Stopping

    plan: Plan = plans["trainer"]
    if cfg["debug"]:
        plan.arguments |= DEBUG
    defaults = {"log_every_n_steps": 10, "num_sanity_val_steps": 0, "enable_model_summary": False}
    plan.arguments = defaults | plan.arguments
    loggers = [logger.build() for logger in plans["logger"].values()]
    callbacks = [*(callback.build() for callback in plans["callbacks"].values()), interruption]
    trainer = plan.build(default_root_dir=folder.path, logger=loggers, callbacks=callbacks)
    trainer.callbacks.sort(key=lambda callback: isinstance(callback, Stopping))  # after all that make of a step
    return trainer


def _tell_trackers(trainer: "Trainer", cfg: dict[str, Any], model: "Colorizer", folder: RunFolder) -> None:
    """Tell all trackers what the run is made of, and keep where they show it."""
    from colorlab.loggers import remember_trackers

    weights = sum(parameter.numel() for parameter in model.parameters())
    for logger in trainer.loggers:
        logger.log_hyperparams({**cfg, "model": {**cfg["model"], "name": model.title, "parameters": weights}})
    remember_trackers(trainer.loggers, folder)


def _learn(
    trainer: "Trainer",
    model: "Colorizer",
    data: "ColorDataModule",
    folder: RunFolder,
    checkpoint: Path | None,
    test: bool,
) -> tuple[str, float | None]:
    """Train, and test the best checkpoint; return it, and its score."""
    from colorlab.models.weights import read_weights

    try:
        with enough_memory(data, trainer):
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except BaseException:  # at a validation Lightning leaves the workers to the collector, which waits 5 s for each
        with suppress(Exception):  # which would hide this one
            trainer.fit_loop.teardown()
        raise
    best, score = _best(trainer, folder)
    if test and data.names["test"]:
        if best:  # by ckpt_path, Lightning's weight averaging would put back the weights that were not averaged
            read_weights(model, Path(best))
        with enough_memory(data, trainer):
            trainer.test(model, datamodule=data, verbose=False)
    return best, score


def _best(trainer: "Trainer", folder: RunFolder) -> tuple[str, float | None]:
    """The best checkpoint, and its score.

    Where the one that Lightning means is not there, as the disk was full or the folder was moved, it is the one
    that the names tell.
    """
    callback = trainer.checkpoint_callback
    if callback is None or not callback.best_model_path:
        return "", None
    score = None if callback.best_model_score is None else float(callback.best_model_score)
    meant = Path(callback.best_model_path)
    for path in (meant, folder.checkpoints.path / meant.name):
        if path.is_file():
            return str(path), score
    return (str(folder.checkpoints.best()) if folder.checkpoints.exist() else ""), None


def _objective(plan: Plan, data: "ColorDataModule", folder: RunFolder) -> "nn.Module":
    """Build the objective; one that asks for a prior gets that of the photographs, and the run keeps it."""
    if plan.accepts("prior") and plan.arguments.get("prior") is None:
        from colorlab.data.color_histogram import cached_prior, draw_prior

        if not folder.prior.exists():
            counted = cached_prior(data)
            draw_prior(counted, folder.prior.with_suffix(".png"))
            copy_file(counted, folder.prior)
        plan.arguments["prior"] = str(folder.prior)
    return plan.build()


# -- what a person sees ------------------------------------------------------------------------------


def _begin(cfg: dict[str, Any], folder: RunFolder, status: Status, data: "ColorDataModule") -> None:
    """Write down what the run is made of, and show it."""
    folder.write_configuration(cfg, status.facts["overrides"])
    status.begin()
    origin = keep_origin(folder, status.facts["command"], cfg["seed"], data)
    _introduce(cfg, folder, data)
    if cfg["reproduce"]:
        lines = differences(folder, RunFolder(cfg["reproduce"]), origin)
        for line in lines or ["none that is known"]:
            print(f"differs from {cfg['reproduce']}: {line}", flush=True)


def _introduce(cfg: dict[str, Any], folder: RunFolder, data: "ColorDataModule") -> None:
    """Print the configuration as a tree, and a line on the photographs."""
    import rich
    from rich.tree import Tree

    def grow(tree: Tree, node: dict[str, Any]) -> Tree:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                grow(tree.add(f"[bold]{key}"), value)
            else:
                tree.add(f"{key}: [cyan]{rich.markup.escape(str(value))}")
        return tree

    rich.print(grow(Tree(f"[bold]{rich.markup.escape(str(folder.path))}"), cfg))
    print(data.summary(), flush=True)


def _conclude(trainer: "Trainer", data: "ColorDataModule", folder: RunFolder, best: str, score: float | None) -> None:
    """Print where the results are, and tell the tracker which checkpoint is the best."""
    import wandb

    from colorlab.loggers import log_best

    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    lines = [data.summary()]
    if "test/psnr" in metrics:
        gray = metrics["test/psnr_gray"]
        lines.append(f"PSNR on the test photographs: {metrics['test/psnr']:.2f} dB (gray picture: {gray:.2f} dB)")
    if "test/colorfulness" in metrics:
        colorful, true = metrics["test/colorfulness"], metrics["test/colorfulness_true"]
        lines.append(f"colorfulness of them: {colorful:.1f} (true pictures: {true:.1f})")
    places = {
        "comparison picture": folder.newest_sheet(), "best checkpoint": best, "curves": folder.curves,
    }  # fmt: skip
    lines += [f"{name}: {relative(path)}" for name, path in places.items() if path and Path(path).exists()]
    log_best(trainer.loggers, best, getattr(trainer.checkpoint_callback, "monitor", None), score)
    if wandb.run is not None and wandb.run.settings._offline:
        parts = Path(wandb.run.dir).parents[1]  # a resumed run has several
        lines.append(f"upload to wandb: wandb sync {shlex.quote(relative(parts))}/offline-run-*")
    for line in lines:
        print(line, flush=True)
