"""The training command, as real processes on the built-in photographs."""

import csv
import runpy
import shutil
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
from colorlab.config import conf_folder
from colorlab.data import ColorDataModule
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.schedules import Constant
from colorlab.train.__main__ import main
from support.command_process import CommandProcess, run_forked
from support.commands import SMALL, WITH_PICTURES, Command, run_command, train_exit_code


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def largest_difference(one: Path, other: Path) -> float:
    first, second = read(one)["state_dict"], read(other)["state_dict"]
    assert first.keys() == second.keys()
    return max((first[key].double() - second[key].double()).abs().max().item() for key in first)


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
    assert metrics["train/loss"][3] < metrics["train/loss"][0]


def test_the_end_of_a_run_says_where_the_results_are(finished: RunFolder) -> None:
    out = (finished.path.parent / "out.txt").read_text()
    for line in ("comparison picture: run/comparison/test.png", "best checkpoint: run/checkpoints/cunet_epoch003",
                 "curves: run/curves.png", "photographs: 153 train, 24 val, 24 test"):  # fmt: skip
        assert line in out


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
        model.load_state_dict(read(best)[weights])
        model.prepare_training(torch.nn.MSELoss(), torch.optim.Adam, Constant())
        data = ColorDataModule(size=32, val_fraction=0.12, test_fraction=0.12, split_seed=1329, workers=0)
        trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
        (found,) = trainer.test(model, datamodule=data, verbose=False)
        losses[weights] = found["test/loss"]
    (tested,) = read_metrics(run)["test/loss"].values()
    assert tested == pytest.approx(losses["state_dict"], rel=1e-5)
    assert tested != pytest.approx(losses["current_model_state"], rel=1e-3)


def test_an_optimizer_override_on_a_resume_is_applied(finished: RunFolder, train: Command, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-r", finished.path, folder], check=True)
    brief = ("test=false", "callbacks.comparison=null", "callbacks.curves=null")
    done = train(f"resume={folder}", "trainer.max_epochs=5", "optim.lr=1e-5", "optim.betas=[0.5,0.9]", *brief)
    assert done.returncode == 0, done.stderr
    metrics = read_metrics(RunFolder(folder))
    assert metrics["optim/lr"][3] == pytest.approx(1e-3)
    assert metrics["optim/lr"][4] == pytest.approx(1e-5)
    group = read(folder / "checkpoints" / "last.ckpt")["optimizer_states"][0]["param_groups"][0]
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
    assert read(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 1
    assert (tmp_path / "run" / "comparison" / "test.png").exists()


MISTAKES = {
    "optim.lrr=1": "did you mean optim.lr?",
    "+optim.betaz=1": "did you mean optim.betas?",
    "optim.lr=abc": "optim.lr=abc must be a number",
    "model.width=3.5": "model.width=3.5 must be a whole number",
    "model.widht=3": "did you mean model.width?",
    "model=eccv17": "did you mean model=eccv16? Else choose from: cunet, eccv16.",
    "schedule=linear": "does not exist: choose from: constant, cosine, staged.",
    "modle=eccv16": "did you mean model?",
    "sede=1": "did you mean seed?",
    "seed=null": "seed=None must be a whole number",
    "seed=5000000000": "seed=5000000000 must be a whole number from 0 to",
    "run.notse=hi": "Unknown key run.notse: did you mean run.notes?",
    "run.tags=new": "run.tags=new must be a list of texts",
    "sweep.metrc=val/psnr": "Unknown key sweep.metrc: did you mean sweep.metric?",
    "sweep=wandb": "sweep=wandb does not exist: choose from: grid, optuna, recipe.",
    "sweep.metric=5": "sweep.metric=5 must be a text",
    "optim.lr=-1": "optim: Invalid learning rate: -1.0",
    "callbacks.best.save_top_k=-2": "callbacks.best: Invalid value for save_top_k=-2",
    "callbacks.nope=1": "Unknown key callbacks.nope: choose from: best, ",
    "callbacks.plateua.patience=3": "Unknown key callbacks.plateua: did you mean callbacks.plateau?",
    "logger=null": "logger=null chooses nothing",
    "schedule=null": "schedule=null chooses nothing",
    "trainer.max_epoch=1": "did you mean trainer.max_epochs?",
    "data=folder": "data.root is missing: add data.root=…",
    "data.root=/nowhere": "data.root=/nowhere is missing",
    "data=shards data.root=/nowhere data.cache=disk": "Unknown key data.cache: choose from: augment",
    "resume=/nowhere": "/nowhere does not exist",
    "schedule.lr=[[0,1],[20,0.1],[10,0.2]]": "each later than the one before",
    "model.activation=gelu": "model.activation=gelu must be one of sigmoid, relu",
    "model.weights=/nowhere.pth": "There is no checkpoint at /nowhere.pth",
    "model._target_=os.system": "is not allowed",
    "objective=classification model.head=ab": "cunet has none: add model.head=bins",
    "objective=rebalanced_classification objective.prior=/nowhere": "There is no prior at /nowhere",
    "model.head=bins model.temperature=0": "model.temperature=0 must be above 0",
    "model.compile=maybe": "model.compile=maybe must be true or false",
    "trainer.scale_batch=64": "trainer.scale_batch=64 must be true or false",
    "trainer.scale_batch=true trainer=ddp trainer.accelerator=cpu trainer.devices=2": "works on one device",
    "optim.fused=true trainer.gradient_clip_val=1 trainer.precision=bf16-mixed": "do not go together in bf16-mixed",
    "callbacks.best.monitor=val/psnr": "callbacks.best.monitor=val/psnr should rise: add callbacks.best.mode=max.",
    "callbacks.plateau.mode=max": "callbacks.plateau.monitor=val/loss should fall: add callbacks.plateau.mode=min.",
    "callbacks.plateau.factor=2": "must lie between 0 and 1",
    "callbacks=plateau callbacks.plateau.monitor=val/los": "is not logged; did you mean val/loss?",
}


def run_here(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> None:
    """Run the command in this process to its good end."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", ["colorlab-train", *overrides])
    main()


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_gets_one_sentence_and_exit_code_2(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = words.split()
    chosen = {override.partition("=")[0] for override in overrides}
    small = [override for override in SMALL if override.partition("=")[0] not in chosen]
    if "model" in chosen:
        small.remove("model.width=4")
    assert train_exit_code(monkeypatch, *small, *overrides, "hydra.run.dir=run") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("colorlab: ")
    assert MISTAKES[words] in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_its_trainer_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    assert train_exit_code(monkeypatch, *SMALL, "trainer=gpu", f"hydra.run.dir={tmp_path / 'run'}") == 2
    assert capsys.readouterr().err == "colorlab: trainer: No supported gpu backend found!\n"


def test_a_mistake_in_a_real_process_shows_no_traceback(train: Command) -> None:
    done = train("optim.lrr=1", "hydra.run.dir=run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].endswith("did you mean optim.lr?")


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


def test_help_lists_the_groups_and_their_choices(train: Command) -> None:
    done = train("--help")
    assert done.returncode == 0
    conf = conf_folder()
    groups = [folder for folder in conf.iterdir() if folder.is_dir()]
    assert len(groups) == 10
    for group in groups:
        choices = ", ".join(sorted(file.stem for file in group.glob("*.yaml")))
        assert f"\n{group.name}: {choices}\n" in done.stdout


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
    here, there = (read(run.checkpoints.newest())["callbacks"]["RandomState"] for run in (found, given))
    assert torch.equal(here["torch"], there["torch"])
    run_here(monkeypatch, "resume=found", "trainer.max_epochs=2")  # and looks no more
    assert read(found.checkpoints.newest())["global_step"] == 10
    assert "found by" not in capsys.readouterr().out


# -- two processes -----------------------------------------------------------------------------------


PLAIN = """
import colorlab.models
from torch import nn
from colorlab.models import Colorizer
from colorlab.train.__main__ import main

class Plain(Colorizer):  # without BatchNorm, whose statistics are each process's own
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 3, padding=1))
        self.initialize()

    def network(self, lightness):
        return self.layers((lightness - 50) / 50)

colorlab.models.Plain = Plain
main()
"""


@pytest.fixture(scope="module")
def of_one_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of the model above: in one process with 16 pictures at once; in two with 8 each; in parts of 8.

    The latter two read from a cache.
    """
    where = tmp_path_factory.mktemp("batch")
    script = where / "plain.py"
    script.write_text(PLAIN)
    model = ("model._target_=colorlab.models.Plain", "schedule=cosine", "schedule.warmup=1", "trainer.max_epochs=2")
    small = ("data.size=32", "data.workers=0", "logger=csv", "test=false", "metrics=[psnr]", "callbacks.curves=null")
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.limit_train_batches=9")
    one, parts = (
        ("trainer=cpu", f"trainer.limit_train_batches={count}", "callbacks.comparison=null") for count in (9, 18)
    )
    kept = ("callbacks.every.every_n_train_steps=12", "callbacks.every.filename=kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(where)
        start_here(patch, script, *model, *small, *one, "data.batch_size=16", "hydra.run.dir=whole")
        cached = (*model, *small, "data.batch_size=8", "data.cache=disk")
        start_here(patch, script, *cached, *parts, "trainer.accumulate_grad_batches=2", *kept, "hydra.run.dir=parts")
        done = run_forked(script, *cached, *two, "hydra.run.dir=processes", cwd=where)
        assert done.returncode == 0, done.stderr
    return where


def start_here(monkeypatch: pytest.MonkeyPatch, script: Path, *overrides: str) -> None:
    """Run the script in this process."""
    GlobalHydra.instance().clear()
    monkeypatch.setattr(sys, "argv", [str(script), *overrides])
    runpy.run_path(str(script))


def test_one_batch_gives_the_same_weights_in_two_processes_or_in_two_parts(of_one_batch: Path) -> None:
    """So is the rate, which follows a schedule."""
    ends = [RunFolder(of_one_batch / name).checkpoints.newest() for name in ("whole", "processes", "parts")]
    for end in ends:
        assert read(end)["global_step"] == 18
        assert largest_difference(ends[0], end) < 1e-5


def test_a_resume_within_an_epoch_of_two_parts_ends_with_the_same_weights(
    of_one_batch: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(of_one_batch)
    run = RunFolder(of_one_batch / "parts")
    whole = shutil.move(run.checkpoints.newest(), tmp_path / "end.ckpt")
    start_here(monkeypatch, of_one_batch / "plain.py", "resume=parts/checkpoints/kept.ckpt")
    assert read(run.checkpoints.newest())["global_step"] == 18
    assert largest_difference(run.checkpoints.newest(), whole) == 0


def test_two_processes_write_one_file_with_the_losses_of_all_photographs(of_one_batch: Path) -> None:
    """The reference is the run in one process, with the same batches: the losses of half of them differ by a fifth."""
    run, whole = (RunFolder(of_one_batch / name) for name in ("processes", "whole"))
    assert [path.name for path in run.path.rglob("*.csv")] == ["metrics.csv"]
    rows = list(csv.DictReader(run.metrics.open()))
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "8"), ("1", "17")]
    assert all(value for row in rows for value in row.values())
    for name in ("train/loss", "val/loss", "val/psnr"):
        assert read_metrics(run)[name] == pytest.approx(read_metrics(whole)[name], rel=1e-4), name


def test_two_processes_show_ten_photographs_as_one_does(of_one_batch: Path, finished: RunFolder) -> None:
    here, there = (
        Image.open(folder / "comparison" / "epoch001.png") for folder in (of_one_batch / "processes", finished.path)
    )
    assert here.size == there.size


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
    losses = read_metrics(run)["train/loss"]
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
    checkpoint = read(RunFolder(tmp_path / "run").checkpoints.newest())
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
