"""What strangers send: checkpoints, run folders, shards and pictures that want to run code, and visitors of a page.

Whatever carries code would leave a file, the canary, where it could be seen.
"""

import json
import pickle
import re
import resource
import shutil
import socket
import struct
import sys
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from select import select
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import uvicorn
from fastapi import FastAPI
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from safetensors.torch import save_file
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from colorlab.data.photographs import SAMPLES
from colorlab.data.shard_index import INDEX
from colorlab.demo.server import Limits
from colorlab.demo.server import make_app as make_demo
from colorlab.models import CUNet
from colorlab.models.weights import write_folder
from colorlab.runs.folder import RunFolder
from colorlab.study.pictures import TRUE, picture_path
from colorlab.study.server import make_app as make_study
from colorlab.study.store import VIGILANCE, Protocol, Store
from colorlab.web.serving import listen
from support.checkpoints import save_checkpoint
from support.commands import SMALL

ON_SAMPLES = ("data.workers=0", "trainer=cpu")


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
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as the coloring command leaves it
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
    good = torch.load(save_checkpoint(CUNet(width=2), folder / "good.ckpt"), weights_only=True)
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
        with tally.injecting("a checkpoint contains code or names a function to call"):
            code, said = leave(reader.split()[0], *(word.replace("CKPT", str(checkpoint)) for word in READERS[reader]))
            assert (code, canary.exists()) == (2, False), (checkpoint.name, said)
            assert re.search(rf"^colorlab: .*{checkpoint.stem}", said, re.MULTILINE), said


def test_no_other_file_is_unpickled(canary: Path, leave: Callable, tmp_path: Path, tally: Any) -> None:
    """Priors, weights of the metrics' networks, and the index of shards."""
    prior = np.array([Payload(canary)], dtype=object)
    np.savez(tmp_path / "prior.npz", allow_pickle=True, prior=prior)
    np.savez(tmp_path / "good.npz", prior=np.full(313, 1 / 313))
    pickled = with_code(tmp_path, canary)[0]
    (tmp_path / "shards").mkdir()
    shutil.copy(tmp_path / "prior.npz", tmp_path / "shards" / INDEX)
    good = tmp_path / "good.ckpt"
    evaluate = ("evaluate", f"checkpoint={good}", *ON_SAMPLES, "logger=csv")
    train = ("train", *SMALL, "data.workers=0")
    for *words, sentence in (
        (*evaluate, "metrics=[auc_rebalanced]", "prior=prior.npz", "prior.npz is not a prior"),
        (*evaluate, "metrics=[lpips]", "prior=good.npz", f"alexnet={pickled}", "zipped.ckpt is not a checkpoint"),
        (*evaluate, "metrics=[fid]", "prior=good.npz", f"inception={pickled}", "zipped.ckpt is not a checkpoint"),
        (*train, "objective=rebalanced_classification", "objective.prior=prior.npz", "prior.npz is not a prior"),
        (*train, "data=shards", "data.root=shards", "shards holds no shards"),
    ):
        with tally.injecting("another kind of file contains code"):
            code, said = leave(*words)
            assert (code, canary.exists()) == (2, False), (words, said)
            assert sentence in said


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
    for hostile in words[(word == "resume") % tally.times(3, 1) :: tally.times(3, 1)]:
        with tally.injecting("the saved overrides of a run folder would run code or reveal a secret"):
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
        for content in contents[place % tally.times(11, 1) :: tally.times(11, 1)]:
            shutil.rmtree(run.path, ignore_errors=True)
            run.checkpoints.path.mkdir(parents=True)
            with_code(run.checkpoints.path, canary)
            shutil.copy(run.checkpoints.path / "zipped.ckpt", run.checkpoints.path / "last.ckpt")
            run.write_configuration({"run": {}, "callbacks": {}}, [*SMALL])
            (run.path / file).write_text(content, encoding="latin-1")
            with tally.injecting("a file of a run folder has unexpected content or requests an object"):
                for reader in readers[: tally.times(3, 4)]:
                    code, said = leave(*reader)
                    assert (code in (0, 2), canary.exists()) == (True, False), (file, content, reader, said)


# -- pictures ----------------------------------------------------------------------------------------


def bombs(folder: Path) -> list[str]:
    """Small files that say, or have, more pixels than a machine can hold."""
    folder.mkdir()

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(999))), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)
    (folder / "said.png").write_bytes(png)
    Image.new("1", (25_000, 25_000)).save(folder / "true.png")
    jpeg = (SAMPLES / "explore_world_animals_scarlet_macaw.jpg").read_bytes()
    at = re.search(rb"\xff\xc0..\x08", jpeg, re.DOTALL).end()
    (folder / "said.jpg").write_bytes(jpeg[:at] + struct.pack(">HH", 65_000, 65_000) + jpeg[at + 4 :])
    Image.new("RGB", (8, 8)).save(folder / "said.bmp")
    bmp = bytearray((folder / "said.bmp").read_bytes())
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    (folder / "said.bmp").write_bytes(bmp)
    tifffile.imwrite(folder / "deep.tif", np.zeros((8, 8, 3), np.uint16), photometric="rgb", rowsperstrip=8)
    with tifffile.TiffFile(folder / "deep.tif", mode="r+") as file:
        for tag in ("ImageWidth", "ImageLength"):
            file.pages[0].tags[tag].overwrite(60_000)
    return sorted(file.name for file in folder.iterdir())


def test_a_picture_that_would_fill_the_memory_is_left_out_by_every_command(
    leave: Callable, tmp_path: Path, tally: Any
) -> None:
    names = bombs(tmp_path / "photos")
    for photograph in sorted(SAMPLES.glob("*.jpg"))[:60]:
        shutil.copy(photograph, tmp_path / "photos")
    checkpoint = save_checkpoint(CUNet(width=2), tmp_path / "good.ckpt")
    data = ("data=folder", "data.root=photos", *ON_SAMPLES, "logger=csv")
    commands = (
        ("train", *SMALL, *data, "data.batch_size=4", "debug=true", "callbacks.comparison=null"),
        ("evaluate", f"checkpoint={checkpoint}", *data, "split=all", "metrics=[psnr]"),
        ("colorize", "photos", "--checkpoint", checkpoint, "-o", "colored"),
    )  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for command in commands[tally.times(1, 0) :]:
        with tally.injecting("a picture of a few kilobytes decompresses to gigabytes", times=len(names)):
            code, said = leave(*command)
            assert code == (1 if command[0] == "colorize" else 0), said
            if command[0] == "colorize":
                assert all(name in said for name in names), said
    assert len(list((tmp_path / "colored").iterdir())) == 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KiB


# -- visitors of a page ------------------------------------------------------------------------------


@contextmanager
def served(make: Callable[[list[str]], FastAPI]) -> Iterator[tuple[str, int]]:
    """A page on loopback, as its command serves it: host and port."""
    with listen("127.0.0.1", 0, "") as listening:
        server = uvicorn.Server(uvicorn.Config(make(listening.hosts), log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening.listener]})
        thread.start()
        yield listening.listener.getsockname()
        server.should_exit = server.force_exit = True
        thread.join()


@pytest.fixture(params=["demo", "study"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """The page's name and where it is."""
    if request.param == "demo":
        model = CUNet(width=2).eval()
        with served(lambda hosts: make_demo({NAME: model}, Limits(0.5, 1), hosts)) as place:
            yield "demo", place
        return
    for version in (TRUE, "model", VIGILANCE):
        for photograph in range(3):
            path = picture_path(tmp_path / "pictures", version, photograph)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20)).save(path)
    store = Store(tmp_path / "answers.sqlite")
    about = (Protocol(1, 2, 0), [0, 1, 2], ["model"], 1.0, 0)
    with served(lambda hosts: make_study(store, tmp_path / "pictures", *about, hosts)) as place:
        yield "study", place
    store.close()


NAME = "<img src=x onerror='document.title=1'></option><script>document.title=2</script>"


def say(place: tuple[str, int], *parts: bytes, patience: float = 120) -> bytes:
    """Send bytes as they are, and read what comes until the server hangs up, or has answered."""
    with socket.create_connection(place, timeout=patience) as line:
        reply = b""
        try:
            for part in parts:
                line.sendall(part)
            while b"\r\n\r\n" not in reply and (more := line.recv(65_536)):
                reply += more
        except (ConnectionError, TimeoutError):
            pass
        return reply


def status(reply: bytes) -> int:
    return int(reply.split()[1]) if reply else 0


def asking(verb: str, path: str, *headers: str, host: str = "127.0.0.1") -> bytes:
    return "\r\n".join((f"{verb} {path} HTTP/1.1", f"Host: {host}", *headers, "", "")).encode()


def test_a_page_gives_nothing_to_who_should_not_have_it(page: tuple[str, tuple[str, int]], tally: Any) -> None:
    """Over the wire: no client library tidies up what is asked for."""
    name, place = page
    assert place[0] == "127.0.0.1"
    assert status(say(place, asking("GET", "/"))) == 200
    post = "/api/look?model=x" if name == "demo" else "/api/start"
    kind = "application/octet-stream" if name == "demo" else "application/json"
    climbs = ("/../../../../etc/passwd", "/picture/../../answers.sqlite", "/picture/..%2f..%2fanswers.sqlite",
              "/picture/%2e%2e/%2e%2e/answers.sqlite", "//etc/passwd", "/picture/%00")  # fmt: skip
    refused = {asking("GET", path): (404, 405) for path in climbs}
    refused |= {asking("GET", "/", host=host): (400,) for host in ("evil.example", "127.0.0.1.evil.example", "")}
    for form in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        words = (f"Content-Type: {form}", "Origin: http://evil.example", "Content-Length: 2")
        refused[asking("POST", post, *words) + b"{}"] = (415, 422)
    refused[asking("OPTIONS", post, "Origin: http://evil.example", "Access-Control-Request-Method: POST")] = (405, 400)
    refused[asking("POST", post, f"Content-Type: {kind}", "Content-Length: 99999999999")] = (413,)
    refused[asking("GET", "/", "X: " + "x" * 200_000)] = (400, 431)
    for request, codes in refused.items():
        with tally.injecting("a web request asks for private files or sends too much data"):
            reply = say(place, request)
            assert status(reply) in codes, (request[:200], reply[:200])
            assert b"root:" not in reply
            assert b"access-control-allow-origin" not in reply.lower()
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with tally.injecting("a web request asks for private files or sends too much data"):
        began = asking("POST", post, f"Content-Type: {kind}", "Transfer-Encoding: chunked")
        assert status(say(place, began, *[piece] * 40)) in (413, 0)  # it hangs up while we are talking
    assert status(say(place, asking("GET", "/"))) == 200


def test_visitors_who_dawdle_keep_nobody_waiting(page: tuple[str, tuple[str, int]], tally: Any) -> None:
    name, place = page
    post = "/api/look?model=x" if name == "demo" else "/api/start"
    kind = "application/octet-stream" if name == "demo" else "application/json"
    halves = (b"", b"GET / HT", asking("POST", post, f"Content-Type: {kind}", "Content-Length: 100000") + b"{")
    count = tally.times(30, 300)
    lines = [socket.create_connection(place) for _ in range(count)]
    for i, line in enumerate(lines):
        line.sendall(halves[i % len(halves)])
    with tally.injecting("web requests that are started and never completed", times=count):
        assert status(say(place, asking("GET", "/"))) == 200
        without_a_head = [line for i, line in enumerate(lines) if i % len(halves) < 2]
        assert not select(without_a_head, [], [], 0)[0]  # they wait, too: none was sent away for it
    for line in lines:
        line.close()


def test_a_models_name_stays_text_on_the_page(browser: webdriver.Chrome) -> None:
    """It is the name of a file, which a stranger chose."""
    model = CUNet(width=2).eval()
    with served(lambda hosts: make_demo({NAME: model, "b": model}, Limits(0.5, 1), hosts)) as (host, port):
        browser.get(f"http://{host}:{port}")
        choices = WebDriverWait(browser, 30).until(lambda page: page.find_elements(By.CSS_SELECTOR, "option"))
        assert [choice.get_attribute("textContent") for choice in choices] == [NAME, "b"]
        assert browser.title not in ("1", "2")
        assert not browser.find_elements(By.CSS_SELECTOR, "img[src=x]")
