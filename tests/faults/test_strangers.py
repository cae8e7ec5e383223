"""What strangers send: checkpoints, run folders, shards and pictures that want to run code, and visitors of a page.

Whatever carries code would leave a file, the canary, where it could be seen.
"""

import io
import json
import pickle
import re
import resource
import shutil
import socket
import struct
import sys
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import uvicorn
from conftest import SMALL, checkpoint_of
from fastapi import FastAPI
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from safetensors.torch import save_file
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import colorlab
from colorlab.data.images import SAMPLES
from colorlab.data.shards import INDEX
from colorlab.demo.server import Limits
from colorlab.demo.server import make_app as make_demo
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.models.weights import write_folder
from colorlab.run_folder import RunFolder
from colorlab.serving import listen
from colorlab.study.pictures import TRUE, picture_path
from colorlab.study.server import make_app as make_study
from colorlab.study.store import VIGILANCE, Protocol, Store

ON_SAMPLES = ("data.size=32", "data.workers=0", "trainer=cpu")


class Payload:
    """Unpickled, it calls a function that makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """What code in a stranger's file would make; that nobody calls it."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


@pytest.fixture
def leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> Callable[..., tuple[int, str]]:
    """Run a command of colorlab in this process: its exit code, and what it said last of what is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # a command may lift it
    main = {name: name for name in ("train", "evaluate", "colorize", "decay", "prior")}
    main |= {name: f"{name}.__main__" for name in ("demo", "export", "leaderboard", "study")}

    def run(command: str, *words: str | Path) -> tuple[int, str]:
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", [f"colorlab-{command}", *map(str, words)])
        try:
            import_module(f"colorlab.{main[command]}").main()
        except SystemExit as left:
            said = capsys.readouterr().err
            assert "Traceback" not in said
            return left.code or 0, said
        return 0, capsys.readouterr().err

    return run


# -- checkpoints -------------------------------------------------------------------------------------


def run_a_command(canary: Path) -> dict[str, str]:
    """A configuration of something in torch that gives its argument to a shell."""
    return {"_target_": "torch.utils.collect_env.run", "command": f"touch {canary}"}


def with_code(folder: Path, canary: Path) -> list[Path]:
    """Files that would run code when they are unpickled, and files of weights whose headers lie."""
    good = torch.load(checkpoint_of(CUNet(width=2), folder / "good.ckpt"), weights_only=True)
    payload = Payload(canary)
    torch.save({**good, "callbacks": payload}, folder / "zipped.ckpt")
    torch.save({**good, "callbacks": payload}, folder / "legacy.ckpt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": good["state_dict"], "extra": payload}, folder / "bare.pth")
    (folder / "raw.pt").write_bytes(pickle.dumps(payload))
    with zipfile.ZipFile(folder / "program.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload))
        archive.writestr("archive/version", "3\n")
    (folder / "header.safetensors").write_bytes(struct.pack("<Q", 2**60) + b'{"__metadata__": {}}')
    (folder / "nested.safetensors").write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)
    names = ("zipped.ckpt", "legacy.ckpt", "bare.pth", "raw.pt", "program.pt", "header.safetensors")
    return [folder / name for name in (*names, "nested.safetensors")]


def naming(folder: Path, canary: Path) -> list[Path]:
    """Checkpoints whose weights are good, and whose words would have something else called or read."""
    model, node = CUNet(width=2), run_a_command(canary)
    checkpoint = torch.load(checkpoint_of(model, folder / "good.ckpt"), weights_only=True)
    kind = {"colorizer": model.qualified_name()}
    told = {
        "target": {**kind, "hyper_parameters": {"width": node}},
        "other": {**kind, "hyper_parameters": {"width": 2, "weights": str(folder / "good.ckpt")}},
        "named": {"colorizer": "os.system", "hyper_parameters": {"width": 2}},
        "typed": {**kind, "hyper_parameters": [1]},
    }
    paths = []
    for name, about in told.items():
        torch.save(checkpoint | about, folder / f"{name}.ckpt")
        write_folder(model, folder / name)
        (folder / name / "config.json").write_text(json.dumps(about))
        paths += [folder / f"{name}.ckpt", folder / name]
    about = {key: value if isinstance(value, str) else json.dumps(value) for key, value in told["target"].items()}
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "target.safetensors", about)
    return [*paths, folder / "target.safetensors"]


READERS = {
    "colorize": ("photograph.jpg", "--checkpoint", "CKPT", "-o", "colored.jpg"),
    "evaluate": ("checkpoint=CKPT", *ON_SAMPLES, "metrics=[psnr]", "logger=csv"),
    "export": ("CKPT", "--to", "safetensors"),
    "demo": ("CKPT", "--port", "0"),
    "study": ("checkpoint=CKPT", *ON_SAMPLES, "port=0"),
    "train": (*SMALL, "model.width=2", "data.workers=0", "model.weights=CKPT"),
    "train again": (*SMALL, "model.width=2", "data.workers=0", "resume=CKPT"),
}
"""Every command that reads a checkpoint, and how it is given."""


@pytest.mark.parametrize("reader", READERS)
def test_no_command_runs_what_a_checkpoint_carries(
    reader: str, canary: Path, leave: Callable, tmp_path: Path, tally: Any
) -> None:
    shutil.copy(next(SAMPLES.glob("*.jpg")), tmp_path / "photograph.jpg")
    (tmp_path / "sent").mkdir()
    sent = with_code(tmp_path / "sent", canary)
    if reader != "train":  # of the others model.weights takes the weights alone, and they are good
        sent += naming(tmp_path / "sent", canary)
    place = list(READERS).index(reader)
    for checkpoint in sent[place % tally.times(3, 1) :: tally.times(3, 1)]:
        with tally.injecting("a checkpoint carries code, or names what to call"):
            code, said = leave(reader.split()[0], *(word.replace("CKPT", str(checkpoint)) for word in READERS[reader]))
            assert (code, canary.exists()) == (2, False), (checkpoint.name, said)
            assert said.startswith("colorlab"), said


def test_no_other_file_is_unpickled(canary: Path, leave: Callable, tmp_path: Path, tally: Any) -> None:
    """Priors, weights of the metrics' networks, and the index of shards."""
    prior = np.array([Payload(canary)], dtype=object)
    np.savez(tmp_path / "prior.npz", allow_pickle=True, probabilities=prior, prior=prior)
    pickled = with_code(tmp_path, canary)[0]
    (tmp_path / "shards").mkdir()
    shutil.copy(tmp_path / "prior.npz", tmp_path / "shards" / INDEX)
    good = tmp_path / "good.ckpt"
    evaluate = ("evaluate", f"checkpoint={good}", *ON_SAMPLES, "logger=csv")
    train = ("train", *SMALL, "data.workers=0")
    for words in (
        (*evaluate, "metrics=[auc_rebalanced]", "prior=prior.npz"),
        (*evaluate, "metrics=[lpips]", f"alexnet={pickled}"),
        (*evaluate, "metrics=[fid]", f"inception={pickled}"),
        (*train, "objective=rebalanced_classification", "objective.prior=prior.npz"),
        (*train, "data=shards", "data.root=shards"),
    ):
        with tally.injecting("another file than a checkpoint carries code"):
            code, said = leave(*words)
            assert (code, canary.exists()) == (2, False), (words, said)
            assert said.startswith("colorlab"), said


# -- run folders -------------------------------------------------------------------------------------


def hostile_words(canary: Path, folder: Path) -> list[str]:
    """Overrides with which a run's folder would have more done than training."""
    touch = f"'touch {canary}'"
    (folder / "evil.yaml").write_text(
        f"# @package _global_\ncallbacks:\n  evil: {{_target_: torch.utils.collect_env.run, command: {touch}}}\n"
    )
    return [
        "hydra.callbacks.evil={_target_: os.system, command: " + touch + "}",
        "++hydra.callbacks.evil._target_=torch.utils.collect_env.run",
        "hydra.mode=MULTIRUN", "hydra/launcher=joblib", "hydra/job_logging=evil",
        f"hydra.job.env_set.PATH={folder}", f"hydra.searchpath=[file://{folder}]", f"hydra.run.dir={folder}",
        f"--config-dir={folder}", "--multirun", "-m", "--info=all",
        f"experiment=../../../../../../../../..{folder}/evil", f"experiment={folder}/evil",
        f"logger=[csv,../../../../../../../../..{folder}/evil]", "data@hydra.callbacks.evil=samples",
        "callbacks.evil={_target_: torch.utils.collect_env.run, command: " + touch + "}",
        "callbacks.evil={_target_: torch.hub.load, repo_or_dir: " + str(folder) + ", model: evil, source: local}",
        f"model={{_target_: torch.load, f: {folder}/raw.pt, weights_only: false}}",
        "run.notes=${oc.env:HOME}", "run.notes='${oc.${x}:HOME}'", "logger.mlflow.uri=http://127.0.0.1:1/${oc.env:HOME}",
        "", "=", "~", "os.system('true')", "model=\0",
    ]  # fmt: skip


@pytest.mark.parametrize("word", ["resume", "reproduce"])
def test_a_run_of_a_stranger_is_not_repeated_when_it_does_more_than_to_train(
    word: str, canary: Path, leave: Callable, tmp_path: Path, tally: Any
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    with_code(tmp_path, canary)
    shutil.copy(tmp_path / "zipped.ckpt", run / "checkpoints" / "last.ckpt")
    RunFolder(run).config.write_text("run: {name: fish, group: pond}\ncallbacks: {}\n")
    words = hostile_words(canary, tmp_path)
    for hostile in words:
        with tally.injecting("a run folder repeats an override that runs code, or tells a secret"):
            RunFolder(run).write_configuration(RunFolder(run).configuration(), [*SMALL, hostile])
            code, said = leave("train", f"{word}={run}")
            assert (code, canary.exists()) == (2, False), (hostile, said)
            assert said.startswith("colorlab: "), (hostile, said)
            assert str(Path.home()) not in said


def test_every_file_of_a_strangers_run_may_be_anything(
    canary: Path, leave: Callable, tmp_path: Path, tally: Any
) -> None:
    """Each command that reads a run's folder says a sentence or does without; none builds what the YAML asks for."""
    run = RunFolder(tmp_path / "run")
    build = f"!!python/object/apply:os.system ['touch {canary}']"
    call = f"model: {{_target_: torch.utils.collect_env.run, command: touch {canary}}}\n"
    node = f"model: {{_target_: colorlab.models.CUNet, width: {json.dumps(run_a_command(canary))}}}\n"
    contents = (build, f"run: {build}\n", call, node, "[1, 2", "[]", "1", "{}", "\0", "\xff\xfe", "&a [*a]")
    again = ("train", f"reproduce={run.path}", *SMALL, "data.workers=0", "debug=true")
    readers = (("train", f"resume={run.path}"), ("decay", run.path), ("leaderboard", run.path), again)
    files = ("config.yaml", "overrides.yaml", "status.json", "origin.json", "metrics.csv", "trackers.json")
    for place, file in enumerate(files):
        for content in contents[place % tally.times(4, 1) :: tally.times(4, 1)]:
            shutil.rmtree(run.path, ignore_errors=True)
            run.checkpoints.mkdir(parents=True)
            with_code(run.checkpoints, canary)
            shutil.copy(run.checkpoints / "zipped.ckpt", run.checkpoints / "last.ckpt")
            run.write_configuration({"run": {}, "callbacks": {}}, [*SMALL])
            (run.path / file).write_text(content, encoding="latin-1")
            with tally.injecting("a file of a run's folder holds something else, or asks for an object"):
                for reader in readers:
                    code, said = leave(*reader)
                    assert (code in (0, 2), canary.exists()) == (True, False), (file, content, reader, said)
