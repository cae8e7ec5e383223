"""Private parts of libraries that colorlab relies on. No other module of colorlab names them.

Each function names the library, the version it was written for, and the private names it uses.
`tests/test_library_internals.py` checks each of them, so an update that changes one fails there first.
"""

from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.sources_registry import SourcesRegistry

if TYPE_CHECKING:
    import torch
    from lightning import Callback, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from lightning.pytorch.loggers import WandbLogger
    from optuna import Study
    from torch.optim import Optimizer
    from wandb_workspaces.workspaces import Workspace

# -- Lightning --------------------------------------------------------------------------------------


def metrics_to_log(trainer: "Trainer") -> dict[str, float]:
    """Return what Lightning will send to the loggers after the callbacks' `on_train_epoch_end`.

    `trainer.logged_metrics` also holds validation metrics, of earlier epochs too; the loggers already have those.
    Lightning 2.6: `Trainer._logger_connector.metrics["log"]`.
    """
    return {name: float(value) for name, value in trainer._logger_connector.metrics["log"].items()}


def call_last(trainer: "Trainer", kind: type["Callback"]) -> None:
    """Move the callbacks of one class behind all others, checkpoints included.

    Lightning 2.6: the list `Trainer.callbacks`, which its callback connector sets, is in the order of the calls.
    """
    callbacks: list[Callback] = vars(trainer)["callbacks"]
    callbacks.sort(key=lambda callback: isinstance(callback, kind))


def validates_after_batch(trainer: "Trainer") -> bool:
    """Return whether Lightning validates after the training batch that has just ended.

    Lightning 2.6: `fit_loop.epoch_loop._should_check_val_fx(fit_loop._data_fetcher)`.
    """
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def save_once_per_step(checkpoint: "ModelCheckpoint", trainer: "Trainer") -> None:
    """Write a ModelCheckpoint's file, unless it has already been written after this step.

    Lightning 2.6: `ModelCheckpoint._should_skip_saving_checkpoint`, `ModelCheckpoint._save_checkpoint`.
    """
    if not checkpoint._should_skip_saving_checkpoint(trainer):
        checkpoint._save_checkpoint(trainer, checkpoint.format_checkpoint_name({}))


def resume_at_epoch(trainer: "Trainer") -> None:
    """Resume at the right place after a checkpoint that was written when `on_train_epoch_end` was called.

    With `max_steps`, Lightning takes each checkpoint for one within its epoch. A finished epoch would end a second
    time, without a batch; of one that `max_steps` had cut short, the rest would follow in the order of the next epoch.
    Call it in `on_train_start`.

    Lightning 2.6: `FitLoop.restarting`, `FitLoop._restart_stage`, `RestartStage`, `FitLoop.epoch_progress`,
    `_TrainingEpochLoop._num_ready_batches_reached`.
    """
    from lightning.pytorch.loops.fit_loop import RestartStage
    from lightning.pytorch.loops.loop import _Loop

    loop = trainer.fit_loop
    if not loop.restarting or not loop.restarted_on_epoch_end:
        return
    progress = loop.epoch_progress
    if loop.epoch_loop._num_ready_batches_reached():
        progress.increment_completed()
        _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]  # FitLoop's own setter would set it to True
        loop._restart_stage = RestartStage.RESUMED_ON_EPOCH_END
    else:
        for counts in (progress.total, progress.current):
            counts.processed -= 1  # type: ignore[attr-defined]  # declared for all kinds of counts
        loop._restart_stage = RestartStage.RESTARTED_MID_EPOCH


def process_start_method(trainer: "Trainer") -> str | None:
    """Return how a Trainer starts its further processes: "spawn", "fork", "command", or None if it starts none.

    Lightning 2.6: `_MultiProcessingLauncher`, its `_start_method`, and `_SubprocessScriptLauncher`.
    """
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher

    launcher = trainer.strategy.launcher
    if isinstance(launcher, _MultiProcessingLauncher):
        return launcher._start_method
    return "command" if isinstance(launcher, _SubprocessScriptLauncher) else None


def wandb_init_arguments(logger: "WandbLogger") -> dict[str, Any]:
    """Return the arguments that a WandbLogger will call `wandb.init` with; a change of them takes effect.

    Lightning 2.6: `WandbLogger._wandb_init`.
    """
    return logger._wandb_init


# -- torch ------------------------------------------------------------------------------------------


def cpu_computes_in_bf16() -> bool:
    """Return whether the CPU has instructions for bf16: AVX-512 BF16 or AMX.

    torch 2.11: `torch.cpu._is_avx512_bf16_supported`, `torch.cpu._is_amx_tile_supported`.
    """
    import torch

    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def reads_found_inf(optimizer: "Optimizer") -> bool:
    """Return whether an optimizer's kernel skips its step if its attribute `found_inf` is above 0.

    torch 2.11: `_step_supports_amp_scaling`, which fused optimizers set.
    """
    return getattr(optimizer, "_step_supports_amp_scaling", False)


def set_found_inf(optimizer: "Optimizer", found: "torch.Tensor | None") -> None:
    """Tell an optimizer for which `reads_found_inf` is true whether to skip its next steps; None withdraws it.

    torch 2.11: `found_inf`, which `torch.amp.GradScaler` sets.

    Args:
        optimizer: the optimizer.
        found: a scalar on the weights' device, above 0 to skip.
    """
    optimizer.found_inf = found  # type: ignore[attr-defined]  # declared by no optimizer


# -- Hydra ------------------------------------------------------------------------------------------


def use_for_files(source: type[FileConfigSource]) -> None:
    """Let Hydra read configuration files with a subclass of its own class; launchers hand this on to their processes.

    Hydra 1.3: `FileConfigSource`, `SourcesRegistry.types`, which is part of `Singleton.get_state()`.
    """
    source.__name__ = FileConfigSource.__name__  # Hydra may register its own again: it compares these names
    SourcesRegistry.instance().types["file"] = source


# -- trackers and search ----------------------------------------------------------------------------


def workspace_json(workspace: "Workspace") -> str:
    """Return a workspace as the JSON that `Workspace.save` sends to wandb.

    wandb-workspaces 0.4: `Workspace._to_model`.
    """
    return workspace._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=2)


def trial_id(study: "Study", number: int) -> int:
    """Return the storage's id of a study's trial, with which another process opens it.

    optuna 4.2: `FrozenTrial._trial_id`.
    """
    return study.trials[number]._trial_id
