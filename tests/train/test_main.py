"""The training command, as real processes on the built-in photographs."""

import math
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from lightning import Trainer
from PIL import Image

import colorlab
from colorlab.data import ColorDataModule
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics, read_rows
from colorlab.schedules import Constant
from colorlab.train.__main__ import main
from support.checkpoints import largest_difference, read_checkpoint
from support.command_process import CommandProcess
from support.commands import SMALL, WITH_PICTURES, Command, run_command, train_exit_code
from support.runs import same_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An uninterrupted run of four epochs."""
    where = tmp_path_factory.mktemp("finished")
    words = (*WITH_PICTURES, "data.workers=1", "trainer.max_epochs=4", "test=true", "hydra.run.dir=run")
    done = run_command("train", *words, cwd=where)
    assert done.returncode == 0, done.stderr
    (where / "out.txt").write_text(done.stdout)
    return RunFolder(where / "run")


def test_a_run_leaves_everything_in_its_folder(finished: RunFolder) -> None:
    names = [path.name for path in finished.checkpoints.path.iterdir()]
    assert "last.ckpt" in names
    assert any(name.startswith("cunet_epoch003_loss") for name in names), names
    assert not any(set("=/ ") & set(name) for name in names)
    assert len(list(finished.comparison.glob("epoch*.png"))) == 4
    assert (finished.comparison / "test.png").exists()
    assert finished.curves.exists()
    assert finished.config.exists()


def test_a_checkpoints_name_carries_its_monitored_loss(finished: RunFolder) -> None:
    losses = read_metrics(finished)["val/loss"]
    for path in finished.checkpoints.path.glob("cunet_*.ckpt"):
        _, epoch, loss = path.stem.split("_")
        assert float(loss.removeprefix("loss")) == pytest.approx(losses[int(epoch.removeprefix("epoch"))], abs=1e-4)


def test_all_numbers_are_logged_each_epoch(finished: RunFolder) -> None:
    metrics = read_metrics(finished)
    for name in (
        "train/loss", "val/loss", "val/psnr", "val/psnr_gray", "val/colorfulness", "val/colorfulness_true",
        "optim/lr", "optim/weight_decay", "speed/images_per_second",
    ):  # fmt: skip
        assert sorted(metrics[name]) == [0, 1, 2, 3], name
    assert metrics["val/loss"][3] < metrics["val/loss"][0]


def test_the_end_of_a_run_says_where_the_results_are(finished: RunFolder) -> None:
    out = (finished.path.parent / "out.txt").read_text()
    for line in ("comparison picture: run/comparison/test.png", "best checkpoint: run/checkpoints/cunet_epoch003",
                 "curves: run/curves.png", "photographs: 153 train, 24 val, 24 test"):  # fmt: skip
        assert line in out


def test_the_start_of_a_run_is_told_in_15_lines_and_each_epoch_in_one_which_the_log_has_too(
    finished: RunFolder,
) -> None:
    start, *epochs, end = re.split(r"^(epoch .*)\n", (finished.path.parent / "out.txt").read_text(), flags=re.MULTILINE)
    assert len(start.splitlines()) <= 15
    assert "model:      CUNet, width=4\n" in start
    assert "overrides:  model=cunet model.width=4" in start
    epochs = [line for line in epochs if line]
    for number, line in enumerate(epochs, 1):
        assert re.fullmatch(rf"epoch {number}/4: loss \S+, validation \S+, PSNR \S+ dB, lr 0.001, \S+ images/s.*", line)
    assert [line for line in (finished.path / "train.log").read_text().splitlines() if line in epochs] == epochs
    assert len(epochs) == 4
    for command in ("colorize PICTURES --checkpoint run -o colored", "demo run"):
        assert re.search(rf"^  \S*python -m colorlab\.{command}$", end, re.MULTILINE)


def test_one_checkpoint_every_few_epochs_is_kept_if_asked_beside_the_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    few = ("trainer.max_epochs=4", "trainer.limit_train_batches=1")
    asked = ("callbacks.every.every_n_epochs=2", "callbacks.best.save_top_k=1", f"hydra.run.dir={run.path}")
    assert train_exit_code(monkeypatch, *SMALL, *few, *asked) == 0
    kept = set(run.checkpoints.path.glob("cunet_*_kept.ckpt"))
    assert sorted(path.stem.split("_")[1] for path in kept) == ["epoch001", "epoch003"]
    assert len(set(run.checkpoints.path.glob("cunet_*.ckpt")) - kept) == 1
    assert train_exit_code(monkeypatch, f"resume={min(kept)}") == 0  # and writes over the later one
    assert set(run.checkpoints.path.glob("cunet_*_kept*.ckpt")) == kept


def test_a_checkpoint_loads_without_a_configuration(finished: RunFolder) -> None:
    model = colorlab.load(finished.checkpoints.newest())
    assert type(model).__name__ == "CUNet"
    assert model.hparams.width == 4
    assert not model.training
    assert model(torch.full((1, 1, 20, 30), 50.0)).shape == (1, 2, 20, 30)


def test_a_folder_holds_one_run(
    finished: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    """But one that came to no checkpoint gives way to the next."""
    folder = RunFolder(tmp_path / "copy")
    subprocess.run(["cp", "-r", finished.path, folder.path], check=True)
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    assert train_exit_code(monkeypatch, *SMALL, "debug=true", f"hydra.run.dir={folder.path}") == 2
    assert f"{folder.path} holds a run already: resume={folder.path} continues it" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    for checkpoint in folder.checkpoints.path.iterdir():
        checkpoint.unlink()
    assert train_exit_code(monkeypatch, *SMALL, "debug=true", f"hydra.run.dir={folder.path}") == 2
    assert "holds a run that is done, without its checkpoints" in capsys.readouterr().err
    folder.write_status({**folder.status(), "status": "failed"})
    assert train_exit_code(monkeypatch, *SMALL, "debug=true", f"hydra.run.dir={folder.path}") == 0
    assert "resumed" not in folder.origin()
    assert sorted(read_metrics(folder)["val/loss"]) == [0]


def test_averaged_weights_are_what_is_tested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are what the checkpoint gives to all who load it; the others are kept beside them, for a resume."""
    ema = ("+callbacks.ema._target_=lightning.pytorch.callbacks.EMAWeightAveraging", "+callbacks.ema.decay=0.9")
    run = RunFolder(tmp_path / "run")
    words = (*ema, "optim.lr=0.03", "test=true", f"hydra.run.dir={run.path}")
    assert train_exit_code(monkeypatch, *SMALL, *words) == 0
    best, losses = run.checkpoints.best(), {}
    for weights in ("state_dict", "current_model_state"):
        model = colorlab.load(best)
        model.load_state_dict(read_checkpoint(best)[weights])
        model.prepare_training(torch.nn.MSELoss(), torch.optim.Adam, Constant())
        data = ColorDataModule(size=32, val_fraction=0.12, test_fraction=0.12, split_seed=1329, workers=0)
        trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
        (found,) = trainer.test(model, datamodule=data, verbose=False)
        losses[weights] = found["test/loss"]
    (tested,) = read_metrics(run)["test/loss"].values()
    assert tested == pytest.approx(losses["state_dict"], rel=1e-5)
    assert tested != pytest.approx(losses["current_model_state"], rel=1e-3)


def test_a_frozen_part_keeps_its_weights_and_a_resume_may_train_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    short = (*SMALL, "model.freeze=[encoder]", "schedule=cosine", "schedule.warmup=1", "schedule.unit=steps")
    ends = ("trainer.max_epochs=-1", "trainer.max_steps=4")
    assert train_exit_code(monkeypatch, *short, *ends, f"hydra.run.dir={run.path}") == 0
    (rate,) = read_metrics(run)["optim/lr"].values()
    assert rate == pytest.approx(1e-3 * (1 + math.cos(math.pi * 2 / 3)) / 2)
    frozen = read_checkpoint(run.checkpoints.newest())["state_dict"]
    assert train_exit_code(monkeypatch, f"resume={run.path}", "model.freeze=[]", "trainer.max_steps=8") == 0
    trained = read_checkpoint(run.checkpoints.newest())["state_dict"]
    for part, steps in (("encoder.0.0.2", (0, 4)), ("bottom.0.2", (4, 8))):
        counts = [int(state[f"{part}.num_batches_tracked"]) for state in (frozen, trained)]
        assert tuple(counts) == steps
    assert not frozen["encoder.0.0.2.running_mean"].any()
    assert trained["encoder.0.0.2.running_mean"].any()


@pytest.mark.parametrize("ended", [3, 5])
def test_a_run_that_max_steps_ended_goes_on_as_if_it_had_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ended: int
) -> None:
    """The epochs have three steps, so `max_steps` ends the run after an epoch, or within one."""
    short = (*SMALL, "trainer.max_epochs=-1", "trainer.limit_train_batches=3", "trainer.limit_val_batches=1")
    undisturbed, resumed = (RunFolder(tmp_path / name) for name in ("undisturbed", "resumed"))
    assert train_exit_code(monkeypatch, *short, "trainer.max_steps=9", f"hydra.run.dir={undisturbed.path}") == 0
    assert train_exit_code(monkeypatch, *short, f"trainer.max_steps={ended}", f"hydra.run.dir={resumed.path}") == 0
    assert train_exit_code(monkeypatch, f"resume={resumed.path}", "trainer.max_steps=9") == 0
    if ended == 3:
        assert same_run(resumed, undisturbed)
        assert list(read_rows(resumed.metrics)) == [2, 5, 8]
    else:
        assert largest_difference(resumed.checkpoints.newest(), undisturbed.checkpoints.newest()) == 0
        rows = read_rows(resumed.metrics)
        assert list(rows) == [2, 4, 5, 8]
        assert rows[8]["train/loss"] == read_rows(undisturbed.metrics)[8]["train/loss"]
        assert all(math.isfinite(row["train/loss"]) for row in rows.values())


def test_a_schedule_typed_as_one_word_replaces_the_chosen_one_and_is_resumed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run")
    step = "schedule={_target_: torch.optim.lr_scheduler.StepLR, step_size: 1, gamma: 0.5}"
    short = (*SMALL, "trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.max_epochs=2")
    assert train_exit_code(monkeypatch, *short, step, f"hydra.run.dir={run.path}") == 0
    assert train_exit_code(monkeypatch, f"resume={run.path}", "trainer.max_epochs=3") == 0
    assert list(read_metrics(run)["optim/lr"].values()) == pytest.approx([1e-3, 5e-4, 2.5e-4])


def test_an_optimizer_override_on_a_resume_is_applied(finished: RunFolder, train: Command, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", finished.path, folder], check=True)
    brief = ("test=false", "callbacks.comparison=null", "callbacks.curves=null")
    done = train(f"resume={folder}", "trainer.max_epochs=5", "optim.lr=1e-5", "optim.betas=[0.5,0.9]", *brief)
    assert done.returncode == 0, done.stderr
    metrics = read_metrics(RunFolder(folder))
    assert metrics["optim/lr"][3] == pytest.approx(1e-3)
    assert metrics["optim/lr"][4] == pytest.approx(1e-5)
    group = read_checkpoint(folder / "checkpoints" / "last.ckpt")["optimizer_states"][0]["param_groups"][0]
    assert tuple(group["betas"]) == (0.5, 0.9)


def test_a_plateau_decays_at_once_by_hand(train: Command, tmp_path: Path) -> None:
    endless = ("trainer.max_epochs=100000", "trainer.limit_train_batches=1")
    training = CommandProcess(*SMALL, *endless, "hydra.run.dir=run", cwd=tmp_path)
    run = RunFolder(tmp_path / "run")

    def wait_for(rate: float) -> None:
        deadline = time.monotonic() + 300
        while pytest.approx(rate) not in read_metrics(run).get("optim/lr", {}).values():
            assert training.process.is_alive(), training.output()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    wait_for(1e-3)
    asked = run_command("decay", "run", cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr
    wait_for(1e-4)
    training.kill()
    training.wait()
    lrs = list(read_metrics(run)["optim/lr"].values())
    assert lrs == pytest.approx([1e-3] * lrs.index(lrs[-1]) + [1e-4] * lrs.count(lrs[-1]))


def test_debug_runs_one_batch_of_everything(train: Command, tmp_path: Path) -> None:
    done = train(*WITH_PICTURES, "debug=true", "test=true", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 1
    assert (tmp_path / "run" / "comparison" / "test.png").exists()


def run_here(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    """Run the command in this process to its good end."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["colorlab-train", *overrides])
    main()


def test_a_run_of_another_model_cannot_be_resumed(finished: RunFolder, train: Command) -> None:
    other = train(f"resume={finished.path}", "model=eccv16")
    assert other.returncode == 2
    assert "holds colorlab.models.cunet.CUNet, not colorlab.models.eccv16.ECCV16" in other.stderr
    shorter = train(f"resume={finished.path}", "trainer.max_epochs=2")
    assert shorter.returncode == 2
    assert "is in epoch 3 (from 0), beyond trainer.max_epochs=2" in shorter.stderr
    wider = train(f"resume={finished.path}", "model.width=8")
    assert wider.returncode == 2
    assert "was trained with model.width=4, not 8" in wider.stderr


# -- the batch that fits -----------------------------------------------------------------------------


def test_a_found_batch_size_trains_as_if_it_had_been_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("colorlab.train.hardware.MOST_PICTURES", {"cpu": 40})
    small = [word for word in SMALL if not word.startswith(("data.batch_size", "data.size", "model.width"))]
    smaller = ("model.width=2", "data.size=16", "trainer.max_epochs=1")
    run_here(monkeypatch, *small, *smaller, "trainer.scale_batch=true", "hydra.run.dir=found")
    assert "data.batch_size=32 found by trainer.scale_batch" in capsys.readouterr().out
    run_here(monkeypatch, *small, *smaller, "data.batch_size=32", "hydra.run.dir=given")
    found, given = RunFolder(tmp_path / "found"), RunFolder(tmp_path / "given")
    assert largest_difference(found.checkpoints.newest(), given.checkpoints.newest()) == 0
    assert read_metrics(found)["train/loss"] == read_metrics(given)["train/loss"]
    here, there = (read_checkpoint(run.checkpoints.newest())["callbacks"]["RandomState"] for run in (found, given))
    assert torch.equal(here["torch"], there["torch"])
    run_here(monkeypatch, "resume=found", "trainer.max_epochs=2")  # and looks no more
    assert read_checkpoint(found.checkpoints.newest())["global_step"] == 8
    assert "found by" not in capsys.readouterr().out


# -- color bins --------------------------------------------------------------------------------------


def test_a_rebalanced_run_counts_its_photographs_once_and_resumes_with_them(train: Command, tmp_path: Path) -> None:
    done = train(*WITH_PICTURES, "callbacks.curves=null", "objective=rebalanced_classification", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    run = RunFolder(tmp_path / "run")
    counted = run.prior.read_bytes()
    with Image.open(run.comparison / "epoch001.png") as sheet, Image.open(run.prior.with_suffix(".png")) as drawn:
        assert sheet.width == 2 * (5 * 198 + 12) + 6  # true, gray, predicted, mode, confidence
        assert drawn.width > drawn.height
    done = train("resume=run", "trainer.max_epochs=3")
    assert done.returncode == 0, done.stderr
    assert run.prior.read_bytes() == counted
    losses = read_metrics(run)["val/loss"]
    assert sorted(losses) == [0, 1, 2]
    assert losses[2] < losses[0]
    assert colorlab.load(run.checkpoints.newest()).predicts_bins


def test_zhangs_whole_recipe_runs(train: Command, tmp_path: Path) -> None:
    small = (
        "data=samples", "data.size=64", "data.augment.size=32", "data.batch_size=8", "trainer=cpu", "logger=csv",
        "model.width=8",
    )  # fmt: skip
    done = train("experiment=zhang2016", *small, "debug=true", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    checkpoint = read_checkpoint(RunFolder(tmp_path / "run").checkpoints.newest())
    assert checkpoint["colorizer"] == "colorlab.models.eccv16.ECCV16"
    assert checkpoint["state_dict"]["model8.6.weight"].shape == (313, 32, 1, 1)
    (group,) = checkpoint["optimizer_states"][0]["param_groups"]
    assert (tuple(group["betas"]), group["weight_decay"]) == ((0.9, 0.99), 1e-3)
    assert group["lr"] < 3e-5  # it warms up


# -- the plateau decay -------------------------------------------------------------------------------


def test_a_plateau_lowers_both_rates_and_a_resume_keeps_them_low(train: Command, tmp_path: Path) -> None:
    plateau = ("callbacks=plateau", "callbacks.plateau.patience=1", "callbacks.plateau.min_delta=1e9")
    quick = ("trainer.limit_train_batches=1", "trainer.max_epochs=3")
    done = train(*SMALL, *plateau, *quick, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert "after 1 validations without progress of val/loss: learning rate 0.001 → 0.0001." in done.stdout
    run = RunFolder(tmp_path / "run")
    assert list(read_metrics(run)["optim/lr"].values()) == pytest.approx([1e-3, 1e-3, 1e-4])
    done = train("resume=run", "trainer.max_epochs=6")
    assert done.returncode == 0, done.stderr
    metrics = read_metrics(run)
    assert list(metrics["optim/lr"].values()) == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-6])
    assert list(metrics["optim/weight_decay"].values()) == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6, 1e-7, 1e-7])
