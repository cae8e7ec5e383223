"""Files from untrusted sources: checkpoints, run folders, shards and images that try to run code or fill the memory.

The code in them would create a file, the canary.
"""

import json
import pickle
import re
import resource
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from safetensors.torch import save_file

from colorlab.data.shard_index import INDEX
from colorlab.data.splits import SAMPLES
from colorlab.models import CUNet
from colorlab.models.weights import write_folder
from colorlab.runs.folder import RunFolder
from support.checkpoints import save_checkpoint
from support.commands import SMALL
from support.runs import forget_the_user

ON_SAMPLES = ("data.workers=0", "trainer=cpu")


class Payload:
    """An object that creates the canary when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (self.canary,)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Return the path of the canary, and assert at the end that it was not created."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


# -- checkpoints -------------------------------------------------------------------------------------


def run_a_command(canary: Path) -> dict[str, str]:
    """Return a node that names a function of torch which runs its argument in a shell."""
    return {"_target_": "torch.utils.collect_env.run", "command": f"touch {canary}"}


def write_files_with_code(folder: Path, canary: Path) -> list[Path]:
    """Write files that run code when they are unpickled, and safetensors files with invalid headers."""
    good = torch.load(save_checkpoint(CUNet(width=2), folder / "good.ckpt"), weights_only=True)
    payload = Payload(canary)
    torch.save({**good, "callbacks": payload}, folder / "zipped.ckpt")
    torch.save({**good, "callbacks": payload}, folder / "legacy.ckpt", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": good["state_dict"], "extra": payload}, folder / "bare.pth")
    (folder / "raw.pt").write_bytes(pickle.dumps(payload, protocol=2))
    with zipfile.ZipFile(folder / "program.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload, protocol=2))
        archive.writestr("archive/version", "3\n")
    (folder / "header.safetensors").write_bytes(struct.pack("<Q", 2**60) + b'{"__metadata__": {}}')
    (folder / "nested.safetensors").write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)
    names = ("zipped.ckpt", "legacy.ckpt", "bare.pth", "raw.pt", "program.pt", "header.safetensors")
    return [folder / name for name in (*names, "nested.safetensors")]


def write_files_naming_functions(folder: Path, canary: Path) -> list[Path]:
    """Write checkpoints with valid weights, whose metadata names functions to call or files to read."""
    model, node = CUNet(width=2), run_a_command(canary)
    checkpoint = torch.load(save_checkpoint(model, folder / "good.ckpt"), weights_only=True)
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
    "train": (*SMALL, "model.width=2", "model.weights=CKPT"),
    "train again": (*SMALL, "model.width=2", "resume=CKPT"),
}
"""Every command that reads a checkpoint, with its arguments."""


@pytest.mark.parametrize("reader", READERS)
def test_no_command_runs_code_in_a_checkpoint(
    reader: str, canary: Path, run_command_here: Callable, tmp_path: Path, tally: Any
) -> None:
    shutil.copy(next(SAMPLES.glob("*.jpg")), tmp_path / "photograph.jpg")
    (tmp_path / "sent").mkdir()
    files = write_files_with_code(tmp_path / "sent", canary)
    if reader != "train":  # model.weights reads only the weights of these files, which are valid
        files += write_files_naming_functions(tmp_path / "sent", canary)
    place = list(READERS).index(reader)
    for checkpoint in files[place % tally.times(3, 1) :: tally.times(3, 1)]:
        with tally.injecting("a checkpoint contains code or names a function to call"):
            code, said = run_command_here(
                reader.split()[0], *(word.replace("CKPT", str(checkpoint)) for word in READERS[reader])
            )
            assert (code, canary.exists()) == (2, False), (checkpoint.name, said)
            assert re.search(rf"^colorlab: .*{checkpoint.stem}", said, re.MULTILINE), said


def test_no_command_unpickles_other_files(canary: Path, run_command_here: Callable, tmp_path: Path, tally: Any) -> None:
    """Priors, the weights of the metrics' networks, and the index of shards."""
    prior = np.array([Payload(canary)], dtype=object)
    np.savez(tmp_path / "prior.npz", allow_pickle=True, prior=prior)
    np.savez(tmp_path / "good.npz", prior=np.full(313, 1 / 313))
    pickled = write_files_with_code(tmp_path, canary)[0]
    (tmp_path / "shards").mkdir()
    shutil.copy(tmp_path / "prior.npz", tmp_path / "shards" / INDEX)
    good = tmp_path / "good.ckpt"
    evaluate = ("evaluate", f"checkpoint={good}", *ON_SAMPLES, "logger=csv")
    train = ("train", *SMALL)
    for *words, sentence in (
        (*evaluate, "metrics=[auc_rebalanced]", "prior=prior.npz", "prior.npz is not a prior"),
        (*evaluate, "metrics=[lpips]", "prior=good.npz", f"alexnet={pickled}", "zipped.ckpt is not a checkpoint"),
        (*evaluate, "metrics=[fid]", "prior=good.npz", f"inception={pickled}", "zipped.ckpt is not a checkpoint"),
        (*train, "objective=rebalanced_classification", "objective.prior=prior.npz", "prior.npz is not a prior"),
        (*train, "data=shards", "data.root=shards", "shards holds no shards"),
    ):
        with tally.injecting("another kind of file contains code"):
            code, said = run_command_here(*words)
            assert (code, canary.exists()) == (2, False), (words, said)
            assert sentence in said


# -- run folders -------------------------------------------------------------------------------------


def malicious_overrides(canary: Path, folder: Path) -> list[str]:
    """Return overrides that would run code, reveal a secret or do something other than training."""
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
def test_malicious_overrides_of_a_run_folder_are_refused(
    word: str, canary: Path, run_command_here: Callable, tmp_path: Path, tally: Any
) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    write_files_with_code(tmp_path, canary)
    shutil.copy(tmp_path / "zipped.ckpt", run / "checkpoints" / "last.ckpt")
    RunFolder(run).config.write_text("run: {name: fish, group: pond}\ncallbacks: {}\n")
    words = malicious_overrides(canary, tmp_path)
    for malicious in words[(word == "resume") % tally.times(3, 1) :: tally.times(3, 1)]:
        with tally.injecting("the saved overrides of a run folder would run code or reveal a secret"):
            RunFolder(run).write_configuration(RunFolder(run).configuration(), [*SMALL, malicious])
            forget_the_user(RunFolder(run))
            code, said = run_command_here("train", f"{word}={run}")
            assert (code, canary.exists()) == (2, False), (malicious, said)
            assert said.startswith("colorlab: "), (malicious, said)
            assert str(Path.home()) not in said


def test_any_content_of_a_run_folder_is_refused_or_ignored(
    canary: Path, run_command_here: Callable, tmp_path: Path, tally: Any
) -> None:
    """Commands that read a run folder end with one sentence or ignore the file; none creates objects from YAML."""
    run = RunFolder(tmp_path / "run")
    build = f"!!python/object/apply:os.system ['touch {canary}']"
    call = f"model: {{_target_: torch.utils.collect_env.run, command: touch {canary}}}\n"
    node = f"model: {{_target_: colorlab.models.CUNet, width: {json.dumps(run_a_command(canary))}}}\n"
    contents = (build, f"run: {build}\n", call, node, "[1, 2", "[]", "1", "{}", "\0", "\xff\xfe", "&a [*a]")
    again = ("train", f"reproduce={run.path}", *SMALL, "debug=true")
    readers = (("train", f"resume={run.path}"), ("decay", run.path), ("leaderboard", run.path), again)
    files = ("config.yaml", "overrides.yaml", "status.json", "origin.json", "metrics.csv", "trackers.json")
    for place, file in enumerate(files):
        for content in contents[place % tally.times(11, 1) :: tally.times(11, 1)]:
            shutil.rmtree(run.path, ignore_errors=True)
            run.checkpoints.path.mkdir(parents=True)
            write_files_with_code(run.checkpoints.path, canary)
            shutil.copy(run.checkpoints.path / "zipped.ckpt", run.checkpoints.path / "last.ckpt")
            run.write_configuration({"run": {}, "callbacks": {}}, [*SMALL])
            (run.path / file).write_text(content, encoding="latin-1")
            with tally.injecting("a file of a run folder has unexpected content or requests an object"):
                for reader in readers[: tally.times(3, 4)]:
                    code, said = run_command_here(*reader)
                    assert (code in (0, 2), canary.exists()) == (True, False), (file, content, reader, said)


# -- configuration files -----------------------------------------------------------------------------


def test_no_configuration_file_starts_a_program(
    canary: Path, run_command_here: Callable, tmp_path: Path, tally: Any
) -> None:
    """Hydra would start each of them before the command itself runs; a file of a sweep's job, for that job."""
    touch = json.dumps(run_a_command(canary))
    factory = "{version: 1, formatters: {x: " + touch.replace("_target_", "()") + "}}"
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    settings = [
        f"callbacks: {{x: {touch}}}", f"job_logging: {factory}", f"hydra_logging: {factory}", f"launcher: {touch}",
        f"sweeper: {touch}", "job: {env_set: {LD_PRELOAD: evil.so}}", f"launcher: {{setup: ['touch {canary}']}}",
    ]  # fmt: skip
    for setting in settings[:: tally.times(4, 1)]:
        text = f"# @package _global_\nhydra: {{{setting}}}\n"
        (tmp_path / "mine" / "experiment" / "evil.yaml").write_text(text)
        for words in (["experiment=evil"], ["-m", "experiment=unet,evil", "debug=true", "data.root=missing"]):
            with tally.injecting("a configuration file sets Hydra's own settings"):
                code, said = run_command_here("train", "--config-dir", tmp_path / "mine", *words, *SMALL)
                assert (code, canary.exists()) == (2, False), (setting, words, said)
                assert "must be typed on the command line" in said
    with tally.injecting("a configuration file sets Hydra's own settings"):
        (tmp_path / "mine" / "hydra" / "launcher").mkdir(parents=True)
        (tmp_path / "mine" / "hydra" / "launcher" / "near.yaml").write_text(touch)
        code, said = run_command_here("train", "--config-dir", tmp_path / "mine", "-m", "hydra/launcher=near", *SMALL)
        assert (code, canary.exists()) == (2, False), said


# -- images ------------------------------------------------------------------------------------------


def write_decompression_bombs(folder: Path) -> list[str]:
    """Write small files whose images, or the sizes in their headers, do not fit into memory; return the names."""
    folder.mkdir()

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(999))), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    (folder / "header.png").write_bytes(png)
    Image.new("1", (14_400, 14_400)).save(folder / "pixels.png")
    jpeg = (SAMPLES / "explore_world_animals_scarlet_macaw.jpg").read_bytes()
    at = re.search(rb"\xff\xc0..\x08", jpeg, re.DOTALL).end()
    (folder / "header.jpg").write_bytes(jpeg[:at] + struct.pack(">HH", 65_000, 65_000) + jpeg[at + 4 :])
    Image.new("RGB", (8, 8)).save(folder / "header.bmp")
    bmp = bytearray((folder / "header.bmp").read_bytes())
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    (folder / "header.bmp").write_bytes(bmp)
    tifffile.imwrite(folder / "deep.tif", np.zeros((8, 8, 3), np.uint16), photometric="rgb", rowsperstrip=8)
    with tifffile.TiffFile(folder / "deep.tif", mode="r+") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[tag].overwrite(60_000)
    return sorted(file.name for file in folder.iterdir())


def test_every_command_leaves_out_decompression_bombs(run_command_here: Callable, tmp_path: Path, tally: Any) -> None:
    names = write_decompression_bombs(tmp_path / "photos")
    for photograph in sorted(SAMPLES.glob("*.jpg"))[:60]:
        with Image.open(photograph) as picture:
            picture.resize((48, 32)).save(tmp_path / "photos" / photograph.name)
    checkpoint = save_checkpoint(CUNet(width=2), tmp_path / "good.ckpt")
    data = ("data=folder", "data.root=photos", *ON_SAMPLES, "logger=csv")
    commands = (
        ("train", *SMALL, *data, "data.batch_size=4", "debug=true"),
        ("evaluate", f"checkpoint={checkpoint}", *data, "split=all", "metrics=[psnr]"),
        ("colorize", "photos", "--checkpoint", checkpoint, "-o", "colored", "--size", "32"),
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for command in commands[tally.times(1, 0) :]:
        with tally.injecting("a picture of a few kilobytes decompresses to gigabytes", times=len(names)):
            code, said = run_command_here(*command)
            assert code == (1 if command[0] == "colorize" else 0), said
            if command[0] == "colorize":
                assert all(name in said for name in names), said
    assert len(list((tmp_path / "colored").iterdir())) == 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KiB
