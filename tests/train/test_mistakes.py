"""Mistakes on the command line of the training, each answered in one sentence."""

from pathlib import Path

import pytest
import torch

from colorlab.runs.folder import RunFolder
from support.commands import SMALL, Command, train_exit_code

MISTAKES = {
    "optim.lrr=1": "did you mean optim.lr?",
    "+optim.betaz=1": "did you mean optim.betas?",
    "optim.lr=abc": "optim.lr=abc must be a number",
    "model.width=3.5": "model.width=3.5 must be a whole number",
    "model.widht=3": "did you mean model.width?",
    "model=eccv17": "did you mean model=eccv16? Else choose from: cunet, ",
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
    "model.freeze=[encodr]": "model.freeze=encodr is no part of cunet: did you mean encoder?",
    "model.freez=[encoder]": "Unknown key model.freez: did you mean model.freeze?",
    "model=eccv16 model.encoder_lr=0": "model.encoder_lr=0: eccv16 has no part named encoder.",
    "model.encoder_weights=parts.pth": "model.encoder_weights=parts.pth: cunet has no part with weights of its own.",
    "model.width=-8": "model.width=-8 must be a whole number above 0.",
    "model.width=0": "model.width=0 must be a whole number above 0.",
    "data.augment.scale=[2,3]": "scale=[2.0, 3.0] must be two rising shares",
    "data.augment.flip=2": "flip=2 must be a probability",
    "trainer.limit_train_batches=0": "trainer.limit_train_batches=0 must be above 0",
    "trainer.max_epochs=0": "trainer.max_epochs=0 must be at least 1, or -1",
    "trainer.devices=999": "trainer.devices=999 would start as many processes",
    "trainer.precision=bf17": "or null: did you mean bf16?",
    "optim.lr=inf": "optim.lr=inf must be a finite number.",
    "callbacks.best.monitor=val/pnsr": "callbacks.best.monitor=val/pnsr is not measured: did you mean val/psnr?",
    "logger=[csv,neptune]": "logger=neptune does not exist: choose from: csv, mlflow, tensorboard, wandb.",
    "schedule=[[0,1],[100": "schedule=[[0,1],[100 cannot be read: a bracket or a quote in it has no partner.",
    "optim.lr=1e-3,1e-4": "optim.lr=1e-3,1e-4 names several values: add -m to run once for each of them.",
    "model=eccv16,cunet": "model=eccv16,cunet names several values: add -m",
    "data.root=/nowhere/Ann's(1)": "data.root=/nowhere/Ann's(1) is missing.",
    "--epochs 10": "--epochs 10: write trainer.max_epochs=10.",
    "batch_size=4": "Unknown key batch_size: did you mean data.batch_size?",
    "model.freeze=encoder": "model.freeze=encoder must be a list of texts",
    "objective=sum +objective.terms.gan._target_=colorlab.objectives.Adversarial"
    " optim._target_=torch.optim.LBFGS ~optim.weight_decay": "is not trained with LBFGS",
    "objective=perceptual objective.network=vgg16_bn": "There are no weights of VGG16 in",
    "optim._target_=torch.optim.Muon": "optim: Muon only supports 2D parameters",
    "schedule.unit=batches": "schedule.unit=batches must be one of epochs, steps",
    "schedule=cosine trainer.max_epochs=-1 trainer.max_time=00:01:00:00": "add schedule.length=N",
    "schedule=constant schedule._target_=torch.optim.lr_scheduler.StepLR": "schedule.step_size is missing",
    "trainer=ddp trainer.accelerator=cpu trainer.devices=2"
    " callbacks.tuning._target_=lightning.pytorch.callbacks.BackboneFinetuning": "BackboneFinetuning works in one proc",
    "callbacks.best.monitor=val/psnr": "callbacks.best.monitor=val/psnr should rise: add callbacks.best.mode=max.",
    "callbacks.plateau.mode=max": "callbacks.plateau.monitor=val/loss should fall: add callbacks.plateau.mode=min.",
    "schedule={step_size:3}": "Unknown key schedule.step_size: type the keys of a group one by one, schedule.st",
    "schedule={_target_:torch.optim.lr_scheduler.StepLR,gama:3}": "Unknown key schedule.gama: did you mean schedule.ga",
    "callbacks.plateau.factor=2": "must lie between 0 and 1",
    "callbacks=plateau callbacks.plateau.monitor=val/los": "is not measured: did you mean val/loss?",
}

LIKE_OTHERS = {
    "model.width=0", "data.augment.flip=2", "optim.lr=inf", "model=eccv16,cunet", "--epochs 10", "batch_size=4",
    "+optim.betaz=1", "model.widht=3", "schedule=linear", "seed=null", "run.notse=hi", "run.tags=new",
    "sweep.metrc=val/psnr", "sweep.metric=5", "callbacks.plateua.patience=3", "schedule=null", "trainer.max_epoch=1",
    "data.root=/nowhere", "model.compile=maybe", "model.freez=[encoder]", "model.freeze=encoder",
    "schedule.unit=batches", "callbacks.plateau.mode=max",
}  # fmt: skip
"""Mistakes that another one of the table finds by the same lines of code."""


@pytest.mark.parametrize(
    "words", [pytest.param(words, marks=[pytest.mark.slow] * (words in LIKE_OTHERS)) for words in MISTAKES]
)
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
    if "callbacks.plateau.monitor" not in words:  # which is known when the first epoch ends
        assert list(tmp_path.iterdir()) == []


def test_a_mistake_in_a_folder_with_other_files_leaves_them_as_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a run that was killed before its first checkpoint, too, which can still be resumed."""
    run = RunFolder(tmp_path / "run")
    run.write_configuration({"data": {}}, [*SMALL])
    before = run.config.read_bytes(), run.overrides_file.read_bytes()
    late = ("objective=rebalanced_classification", "objective.prior=/nowhere")
    for words in ([f"resume={run.path}", *late], [*SMALL, *late, f"hydra.run.dir={run.path}"]):
        assert train_exit_code(monkeypatch, *words) == 2
        assert (run.config.read_bytes(), run.overrides_file.read_bytes()) == before
        assert run.status() is None
    (other := tmp_path / "other").mkdir()
    assert train_exit_code(monkeypatch, *SMALL, *late, f"hydra.run.dir={other}") == 2
    assert not [path for path in other.iterdir() if path.name not in ("train.log", ".lock")]


def test_a_list_of_test_photographs_alone_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.csv").write_text("path,split\na.jpg,test\nb.jpg,Validation\n")
    assert train_exit_code(monkeypatch, *SMALL, "data=folder", "data.root=list.csv", "hydra.run.dir=run") == 2
    sentence = "data.root=list.csv has no photographs for training (photographs: 0 train, 1 val, 1 test)."
    assert capsys.readouterr().err == f"colorlab: {sentence}\n"


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
