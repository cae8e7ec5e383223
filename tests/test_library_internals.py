"""The private parts of libraries that colorlab relies on: a failure here names what an update has changed."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from colorlab import library_internals

BATCHES = DataLoader(torch.ones(6, 1), batch_size=1)


class Line(LightningModule):
    """One weight, fitted in steps whose loss is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss = self.layer(batch).square().mean()
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val/loss", self.layer(batch).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Resumable(DataLoader):
    """A loader that resumes within an epoch."""

    def __init__(self) -> None:
        super().__init__(torch.ones(6, 1), batch_size=1)
        self.read = self.skip = 0

    def __iter__(self) -> Iterator[Tensor]:
        first, self.skip = self.skip, 0
        for self.read, batch in enumerate(super().__iter__(), 1):
            if self.read > first:
                yield batch

    def state_dict(self) -> dict[str, int]:
        return {"read": self.read}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self.skip = state_dict["read"] % 6


def trainer_of(folder: Path, *callbacks: Callback, **settings: object) -> Trainer:
    return Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, callbacks=list(callbacks), **settings,
    )  # fmt: skip


def require(package: str, owner: object, *names: str) -> None:
    """Fail if an object of a library has lost a private name."""
    lost = [name for name in names if not hasattr(owner, name)]
    assert not lost, f"{package} {version(package)}: {owner} has no {', '.join(lost)}; see colorlab.library_internals."


def test_callbacks_of_one_class_are_called_last(tmp_path: Path) -> None:
    class Saved(Callback):
        pass

    trainer = trainer_of(tmp_path, Saved(), ModelCheckpoint(tmp_path), Callback())
    library_internals.call_last(trainer, Saved)
    assert isinstance(trainer.callbacks[-1], Saved)
    assert len(trainer.callbacks) == 3


def test_lightning_metrics_to_log_are_those_of_the_training_epoch(tmp_path: Path) -> None:
    to_log, all_logged = [], []

    class Reader(Callback):
        def on_train_epoch_end(self, trainer: Trainer, model: LightningModule) -> None:
            require("lightning", trainer, "_logger_connector")
            require("lightning", trainer._logger_connector, "metrics")
            to_log.append(library_internals.metrics_to_log(trainer))
            all_logged.append(set(trainer.logged_metrics))

    trainer_of(tmp_path, Reader(), max_epochs=2, check_val_every_n_epoch=2).fit(Line(), BATCHES, BATCHES)
    assert [set(metrics) for metrics in to_log] == [{"loss"}, {"loss"}]
    assert to_log[1]["loss"] < to_log[0]["loss"]
    assert all_logged[1] == {"loss", "val/loss"}, "trainer.logged_metrics would now do: metrics_to_log is not needed"


def test_lightning_validates_after_batch(tmp_path: Path) -> None:
    expected, validated = [], []

    class Watcher(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            require("lightning", trainer.fit_loop, "_data_fetcher")
            require("lightning", trainer.fit_loop.epoch_loop, "_should_check_val_fx")
            if library_internals.validates_after_batch(trainer):
                expected.append(trainer.global_step)

        def on_validation_start(self, trainer: Trainer, *_: object) -> None:
            validated.append(trainer.global_step)

    settings = {"max_epochs": 2, "check_val_every_n_epoch": None, "val_check_interval": 4}
    trainer_of(tmp_path, Watcher(), **settings).fit(Line(), BATCHES, BATCHES)
    assert expected == validated == [4, 8, 12]


def test_lightning_saves_once_per_step(tmp_path: Path) -> None:
    file, written = tmp_path / "file.ckpt", []

    class Saver(ModelCheckpoint):
        def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
            require("lightning", self, "_should_skip_saving_checkpoint", "_save_checkpoint")
            for _ in range(2):
                file.unlink(missing_ok=True)
                library_internals.save_once_per_step(self, trainer)
                written.append(file.exists())

    trainer_of(tmp_path, Saver(tmp_path, "file", enable_version_counter=False), max_steps=2).fit(
        Line(), BATCHES, BATCHES
    )
    assert written == [True, False] * 2


@pytest.mark.parametrize("steps", [6, 8])
def test_lightning_resumes_at_the_epoch_after_max_steps(tmp_path: Path, steps: int) -> None:
    """The epochs have six steps, so `max_steps` ends the first training after an epoch, or within one."""
    ends: list[tuple[int, int]] = []

    class Watcher(Callback):
        def __init__(self, corrected: bool = False) -> None:
            self.corrected = corrected

        def on_train_start(self, trainer: Trainer, model: LightningModule) -> None:
            loop = trainer.fit_loop
            require("lightning", loop, "_restart_stage", "restarted_on_epoch_end", "epoch_progress")
            require("lightning", loop.epoch_loop, "_num_ready_batches_reached")
            if self.corrected:
                library_internals.resume_at_epoch(trainer)

        def on_train_epoch_end(self, trainer: Trainer, model: LightningModule) -> None:
            ends.append((trainer.current_epoch, trainer.global_step))
            trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    def fit(steps: int, resume: str | None = None, corrected: bool = False) -> list[tuple[int, int]]:
        ends.clear()
        trainer = trainer_of(tmp_path, Watcher(corrected), max_epochs=-1, max_steps=steps)
        trainer.fit(Line(), Resumable(), ckpt_path=resume, weights_only=True)
        return list(ends)

    assert fit(12) == [(0, 6), (1, 12)]
    fit(steps)
    path = str(tmp_path / f"{steps}.ckpt")
    assert fit(12, path, corrected=True) == [(1, 12)]
    if steps == 6:
        assert fit(12, path) != [(1, 12)], "Lightning now does it by itself: resume_at_epoch is not needed"


@pytest.mark.parametrize(
    ("strategy", "method"), [("auto", None), ("ddp", "command"), ("ddp_spawn", "spawn"), ("ddp_fork", "fork")]
)
def test_lightning_starts_processes_as_its_launchers_say(tmp_path: Path, strategy: str, method: str | None) -> None:
    trainer = trainer_of(tmp_path, strategy=strategy, devices=1 if strategy == "auto" else 2)
    assert library_internals.process_start_method(trainer) == method


def test_lightning_wandb_logger_reads_its_arguments_when_the_run_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    logger = WandbLogger(save_dir=tmp_path, mode="online")
    require("lightning", logger, "_wandb_init")
    library_internals.wandb_init_arguments(logger)["mode"] = "offline"
    with monkeypatch.context() as patched:
        modes = []
        patched.setattr(wandb, "init", lambda **arguments: modes.append(arguments["mode"]))
        _ = logger.experiment
    assert modes == ["offline"]


def test_torch_fused_optimizers_leave_out_a_step_that_found_inf() -> None:
    weight = nn.Parameter(torch.ones(3))
    assert not library_internals.reads_found_inf(torch.optim.Adam([weight], fused=False))
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
    assert library_internals.reads_found_inf(optimizer)
    weight.grad = torch.ones(3)
    optimizer.step()
    before = weight.detach().clone()
    library_internals.set_found_inf(optimizer, torch.ones(()))
    optimizer.step()
    assert torch.equal(weight.detach(), before)
    library_internals.set_found_inf(optimizer, None)
    optimizer.step()
    assert not torch.equal(weight.detach(), before)


def test_wandb_workspaces_definition_names_the_project() -> None:
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    workspace = workspaces.Workspace(entity="team", project="fish", name="view")
    require("wandb-workspaces", workspace, "_to_model")
    assert '"fish"' in library_internals.workspace_json(workspace)


def test_optuna_trial_id_opens_the_trial() -> None:
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    trial = study.ask()
    require("optuna", study.trials[0], "_trial_id")
    same = optuna.trial.Trial(study, library_internals.trial_id(study, 0))
    same.report(3.0, step=1)
    assert study.trials[trial.number].intermediate_values == {1: 3.0}


def test_torch_says_whether_the_cpu_has_bf16_as_the_system_does() -> None:
    require("torch", torch.cpu, "_is_avx512_bf16_supported", "_is_amx_tile_supported")
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("the system lists no features of the CPU")
    flags = set(cpuinfo.read_text().split())
    assert library_internals.cpu_computes_in_bf16() == bool(flags & {"avx512_bf16", "amx_tile"})


def test_hydra_reads_files_with_the_class_that_is_set_and_hands_it_on() -> None:
    from hydra._internal.config_repository import ConfigRepository
    from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
    from hydra._internal.sources_registry import SourcesRegistry
    from hydra.core.plugins import Plugins
    from hydra.core.singleton import Singleton

    class Files(library_internals.FileConfigSource):
        pass

    Plugins.instance()
    before = SourcesRegistry.instance().types["file"]
    library_internals.use_for_files(Files)
    state = Singleton.get_state()
    try:
        path = ConfigSearchPathImpl()
        path.append("main", f"file://{Path(__file__).parent}")
        SourcesRegistry.instance().register(before)
        assert [type(source) for source in ConfigRepository(path).sources] == [Files]
        assert any(getattr(each, "types", {}).get("file") is Files for each in state["instances"].values())
    finally:
        library_internals.use_for_files(before)
