"""Train one experiment, or a sweep of them: `python -m colorlab.train model=eccv16 optim.lr=1e-3`."""

import gc
import logging
import math
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from colorlab.command_line import leave, quiet_libraries, run
from colorlab.config import Plan, conf_folder, plain
from colorlab.errors import Interrupted, Preempted, Pruned, Stopped, UserError, sentence_of
from colorlab.experiment import KEYS, check_experiment
from colorlab.hardware import enough_memory, fast_settings, largest_batch
from colorlab.origin import command_of, differences, keep_origin, same_losses, typed_command, words_again
from colorlab.resume import begin_anew, checkpoint_of, requeued, with_run_of
from colorlab.run_folder import RunFolder
from colorlab.status import Status, is_first_process
from colorlab.sweep import best_value, check_processes, file_job, settle_in

if TYPE_CHECKING:
    from lightning import Trainer
    from torch import nn

    from colorlab.callbacks.interruption import Interruption
    from colorlab.data import ColorDataModule

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
    one_size = plans["data"].arguments.get("size", 0) is not None
    for group, fast in fast_settings(plans["trainer"], plans["optim"], one_size).items():
        chosen = {key: value for key, value in fast.items() if key not in cfg[group]}
        plans[group].arguments |= chosen
        cfg[group] |= chosen
    import torch
    from lightning import seed_everything
    from lightning.pytorch.utilities import rank_zero_only

    from colorlab.loggers import finish_tracker, remember_trackers
    from colorlab.models import Colorizer
    from colorlab.models.weights import read_weights

    quiet_libraries()
    seed_everything(cfg["seed"], workers=True, verbose=False)
    begun = requeued(folder) or cfg["resume"]
    checkpoint = checkpoint_of(Path(begun), plans["model"]) if begun else None
    if not begun and rank_zero_only.rank == 0:
        begin_anew(folder)
    failed = True
    try:
        data: ColorDataModule = plans["data"].build()
        model: Colorizer = plans["model"].build()
        if not begun and rank_zero_only.rank == 0:  # a resume begins it anew if it is killed while colors are counted
            folder.write_configuration(cfg, status.facts["overrides"])
        objective = _objective(plans["objective"], data, folder)
        optim, schedule = plans["optim"].partial(), plans["schedule"].build()
        optim([torch.nn.Parameter(torch.zeros(1))])  # says now, and not when training has begun, what it does not take
        model.prepare_training(objective, optim, schedule, cfg["metrics"], cfg["model"].get("compile", False))
        if cfg["trainer"].get("scale_batch"):
            size = folder.batch_size() if begun else largest_batch(model, data, plans["trainer"])
            cfg["data"]["batch_size"] = data.batch_size = size
            status.facts["overrides"] += [f"data.batch_size={size}", "trainer.scale_batch=false"]  # for a resume
        trainer = _trainer(cfg, plans, folder, interruption)
        check_processes(trainer, in_sweep)
        if rank_zero_only.rank == 0:
            _begin(cfg, folder, status, data)
        weights = sum(parameter.numel() for parameter in model.parameters())
        for logger in trainer.loggers:
            logger.log_hyperparams({**cfg, "model": {**cfg["model"], "name": model.title, "parameters": weights}})
        remember_trackers(trainer.loggers, folder)
        torch.set_float32_matmul_precision("high")
        with enough_memory(data, trainer):
            trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        best, score = _best(trainer)
        if cfg["test"] and data.names["test"]:
            if best:  # by ckpt_path, Lightning's weight averaging would put back the weights that were not averaged
                read_weights(model, Path(best))
            with enough_memory(data, trainer):
                trainer.test(model, datamodule=data, verbose=False)
        if rank_zero_only.rank == 0:
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


def _best(trainer: "Trainer") -> tuple[str, float | None]:
    """The best checkpoint, and its score: of those that are there, since the disk may have been full."""
    callback = trainer.checkpoint_callback
    path = callback.best_model_path if callback is not None else ""
    if not path or Path(path).is_file():
        score = callback.best_model_score if path else None
        return path, None if score is None else float(score)
    there = {path: float(score) for path, score in callback.best_k_models.items() if Path(path).is_file()}
    choose = min if callback.mode == "min" else max
    return choose(there.items(), key=lambda item: item[1], default=("", None))


def _objective(plan: Plan, data: "ColorDataModule", folder: RunFolder) -> "nn.Module":
    """Build the objective; one that asks for a prior gets that of the photographs, and the run keeps it."""
    if plan.accepts("prior") and plan.arguments.get("prior") is None:
        from colorlab.data.prior import cached_prior, draw_prior

        if not folder.prior.exists():
            counted = cached_prior(data)
            draw_prior(counted, folder.prior.with_suffix(".png"))
            folder.keep_prior(counted)
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
        "comparison picture": folder.newest_comparison(), "best checkpoint": best, "curves": folder.curves,
    }  # fmt: skip
    lines += [f"{name}: {_near(path)}" for name, path in places.items() if path and Path(path).exists()]
    log_best(trainer.loggers, best, getattr(trainer.checkpoint_callback, "monitor", None), score)
    if wandb.run is not None and wandb.run.settings._offline:
        parts = Path(wandb.run.dir).parents[1]  # a resumed run has several
        lines.append(f"upload to wandb: wandb sync {shlex.quote(_near(parts))}/offline-run-*")
    for line in lines:
        print(line, flush=True)


def _near(path: str | Path) -> str:
    return os.path.relpath(path)


# -- the command -------------------------------------------------------------------------------------


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="train")
def _job(cfg: DictConfig) -> float | None:
    hydra_cfg = HydraConfig.get()
    in_sweep = hydra_cfg.mode is RunMode.MULTIRUN
    folder = RunFolder(hydra_cfg.runtime.output_dir)
    overrides = list(hydra_cfg.overrides.task)
    if in_sweep:
        file_job(cfg, hydra_cfg)
        settle_in()
    logging.raiseExceptions = False  # a full disk is said where it matters: a traceback a line of train.log is not
    status = Status(folder, command_of(overrides) if in_sweep else typed_command(), overrides)
    try:
        return _train_alone(cfg, folder, status, in_sweep)
    except Exception as error:
        if not in_sweep and isinstance(error, UserError | Stopped):
            leave(error)  # Hydra would print a line of its own before it
        if not in_sweep:
            raise
        _tell(error, folder)
        return math.nan  # the other jobs go on; Sweep reports this one at the end
    except Preempted:
        from colorlab.callbacks.requeue import requeue

        requeue()
        raise
    except Interrupted as left:
        if is_first_process():
            on = f": resume={_near(folder.path)} goes on" if folder.has_checkpoint() or folder.came_to_nothing() else ""
            print(f"colorlab: {left.reason}{on}.", file=sys.stderr, flush=True)
        if "SUBMITIT_EXECUTOR" in os.environ:  # SLURM ends the workers now, and each death would raise here
            sys.stdout.flush()
            os._exit(left.code)
        raise
    finally:
        if in_sweep:
            _free_memory()


def _train_alone(cfg: DictConfig, folder: RunFolder, status: Status, in_sweep: bool) -> float | None:
    """Train as the folder's only process, keep its status, and heed signals."""
    from colorlab.callbacks.interruption import Interruption

    interruption = Interruption(status)
    alone = folder.held() if is_first_process() else nullcontext()
    with interruption.heeded(), alone, status.kept(in_sweep):
        if HydraConfig.get().runtime.choices.get("sweep") == "wandb":
            raise UserError("sweep=wandb is no choice here: conf/sweep/wandb.yaml is for `wandb sweep`.")
        return train(plain(cfg), folder, status, interruption, in_sweep)


def _tell(error: Exception, folder: RunFolder) -> None:
    """Say at once what is wrong with a job of a sweep; a defect with its traceback."""
    if isinstance(error, UserError | Stopped | Pruned):
        print(f"{_near(folder.path)}: {sentence_of(error)}", file=sys.stderr, flush=True)
    else:
        logging.getLogger(__name__).exception("%s failed", _near(folder.path))


def _free_memory() -> None:
    """Leave nothing of a job to the next: a model and its Trainer know each other, so only the collector ends them."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def main() -> None:
    """Entry point of `colorlab-train`."""
    try:
        sys.argv[1:] = words_again(with_run_of(sys.argv[1:]))
    except UserError as error:
        leave(error)
    run(_job, KEYS)


if __name__ == "__main__":
    main()
