"""A study from the command to the report, with a real server and a real browser."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from colorlab.config import conf_folder, plain
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.study.database import StudyDatabase
from colorlab.study.folder import StudyFolder
from colorlab.study.preparation import prepare
from colorlab.study.settings import GROUPS, Settings
from colorlab.study.trials import VIGILANCE, Answer
from support.browser import fits_width, set_screen_size
from support.checkpoints import save_checkpoint
from support.command_process import CommandProcess
from support.commands import run_command

EXPOSURE = 1.2
"""In seconds; long enough that a frame shown late on a busy machine is within a fifth of it."""
PAIRS = ("practice=1", "counted=4", "vigilance=0.25", f"exposure={EXPOSURE}")


RECORD = """
const given = [], next = window.requestAnimationFrame.bind(window);
window.requestAnimationFrame = (tell) => next((now) => { given.push(now); tell(now); });
window.framesOfThisPair = () => given.splice(0);
"""
"""Records the times of the animation frames, which the page requests only while a pair is shown."""


class Server:
    """A study served by another process."""

    def __init__(self, folder: Path, *words: str) -> None:
        (folder / "said").unlink(missing_ok=True)  # of the previous server
        self.serving = CommandProcess("out=study", "port=0", *words, cwd=folder, stdout="said", command="study")
        while not (found := re.search(r"http://127.0.0.1:\d+", self.said())):
            assert self.serving.process.is_alive(), self.said()
            time.sleep(0.05)
        self.address = found[0]

    def said(self) -> str:
        return self.serving.output() if self.serving.stdout.exists() else ""

    def end(self, how: int) -> str:
        os.killpg(self.serving.process.pid, how)
        self.serving.wait()
        return self.said()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    (folder / "photographs").mkdir()
    for name in find_photographs(SAMPLES)[10:200:25]:
        shutil.copy(SAMPLES / name, folder / "photographs")
    torch.manual_seed(0)
    save_checkpoint(CUNet(width=2), folder / "cunet.ckpt")
    return folder


def wait(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], bool]) -> None:
    WebDriverWait(browser, 120, poll_frequency=0.1).until(condition)


def stage(browser: webdriver.Chrome) -> str:
    """Return "shown", "asking" or "told"; empty while no pictures are displayed."""
    element = browser.find_element(By.ID, "stage")
    return element.get_attribute("class") if element.is_displayed() else ""


def is_seen(browser: webdriver.Chrome, name: str) -> bool:
    return browser.find_element(By.ID, name).is_displayed()


def click(browser: webdriver.Chrome, name: str) -> None:
    wait(browser, lambda browser: is_seen(browser, name))
    browser.find_element(By.ID, name).click()


def press(browser: webdriver.Chrome, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


def place(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.ID, "place").text


def fake_of(folder: Path, browser: webdriver.Chrome) -> str:
    """Return the side of the fake of the open trial, from the study's database."""
    database = StudyDatabase(folder / "study" / "answers.sqlite")
    side = database.open_trial(browser.get_cookie("participant")["value"]).fake
    database.close()
    return side


@pytest.fixture(scope="module")
def taken(folder: Path, browser: webdriver.Chrome) -> SimpleNamespace:
    """One participant on a desktop, with a reload and a crash of the server; then another one on a phone."""
    seen: dict[str, object] = {"frames": []}
    words = (
        "checkpoint=cunet.ckpt",
        "data=folder",
        "data.root=photographs",
        "data.workers=0",
        "split=all",
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.devices=2",  # a study uses one process whatever the trainer says
    )

    def wait_for_the_question() -> None:
        wait(browser, lambda browser: stage(browser) == "asking")
        seen["frames"].append(browser.execute_script("return framesOfThisPair()"))

    server = Server(folder, *PAIRS, *words)
    set_screen_size(browser, 1280, 800)
    recording = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD})
    browser.get(server.address)
    wait(browser, lambda browser: is_seen(browser, "begin"))
    seen["welcome"] = browser.find_element(By.ID, "welcome").text
    press(browser, Keys.ENTER)
    wait(browser, lambda browser: stage(browser) == "shown")
    boxes = [browser.find_element(By.ID, f"{side}-picture").rect for side in ("left", "right")]
    seen["side by side"] = boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"] and boxes[0]["y"] == boxes[1]["y"]
    wait_for_the_question()
    seen["hidden"] = [browser.find_element(By.ID, f"{side}-picture").is_displayed() for side in ("left", "right")]
    fake = fake_of(folder, browser)
    press(browser, Keys.ARROW_LEFT)
    wait(browser, lambda browser: "told" in stage(browser))
    seen["told"] = browser.find_element(By.ID, "line").text
    seen["truth"] = f"{'Right' if fake == 'left' else 'Wrong'}: the {fake} one is the fake."
    press(browser, Keys.SPACE)
    click(browser, "count")

    def look_and_answer(fooled: bool, by_key: bool) -> None:
        wait_for_the_question()
        before, fake = place(browser), fake_of(folder, browser)
        side = {"left": "right", "right": "left"}[fake] if fooled else fake
        if by_key:
            press(browser, Keys.ARROW_LEFT if side == "left" else Keys.ARROW_RIGHT)
        else:
            browser.find_element(By.ID, side).click()
        wait(browser, lambda browser: place(browser) != before or is_seen(browser, "done"))

    look_and_answer(fooled=False, by_key=True)
    browser.refresh()
    wait(browser, lambda browser: place(browser) != "")
    seen["after reload"] = place(browser)
    look_and_answer(fooled=False, by_key=False)
    wait_for_the_question()
    server.end(signal.SIGKILL)
    press(browser, Keys.ARROW_LEFT)
    wait(browser, lambda browser: is_seen(browser, "trouble"))

    server = Server(folder)  # continues the study on another port
    browser.get(server.address)
    wait(browser, lambda browser: place(browser) != "")
    seen["after crash"] = place(browser)
    look_and_answer(fooled=False, by_key=True)
    look_and_answer(fooled=False, by_key=True)
    wait(browser, lambda browser: is_seen(browser, "done"))
    seen["thanks"] = browser.find_element(By.ID, "result").text

    set_screen_size(browser, 360, 740)
    seen["phone fits"] = [fits_width(browser)]
    click(browser, "another")
    wait_for_the_question()
    seen["phone fits"].append(fits_width(browser))
    seen["begins after crash"] = place(browser)
    browser.find_element(By.ID, "right").click()
    wait(browser, lambda browser: "told" in stage(browser))
    browser.find_element(By.ID, "left").click()
    click(browser, "count")
    for _ in range(4):
        look_and_answer(fooled=is_counted(folder, browser), by_key=False)
    seen["complaints"] = [entry for entry in browser.get_log("browser") if "ERR_CONNECTION" not in entry["message"]]
    browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", recording)
    seen["farewell"] = server.end(signal.SIGINT)
    return SimpleNamespace(folder=folder, **{key.replace(" ", "_"): value for key, value in seen.items()})


def is_counted(folder: Path, browser: webdriver.Chrome) -> bool:
    database = StudyDatabase(folder / "study" / "answers.sqlite")
    trial = database.open_trial(browser.get_cookie("participant")["value"])
    database.close()
    return trial.kind == "counted"


def test_the_page_leads_from_the_first_pair_to_the_result(taken: SimpleNamespace) -> None:
    assert "1.2 seconds" in taken.welcome
    assert "then come 4 pairs that count" in taken.welcome
    assert taken.side_by_side
    assert taken.hidden == [False, False]
    assert taken.told.startswith(taken.truth)
    assert taken.thanks == "You found the fake in 4 of 4 pairs."
    assert taken.complaints == []


def test_a_study_continues_after_a_reload_and_a_crash(taken: SimpleNamespace) -> None:
    assert taken.after_reload == "2 of 4"
    assert taken.after_crash == "3 of 4"
    assert taken.begins_after_crash == "practice 1 of 1"


def test_a_phone_shows_the_page_without_scrolling_sideways(taken: SimpleNamespace) -> None:
    assert taken.phone_fits == [True, True]


def answers_of(folder: Path) -> list[Answer]:
    database = StudyDatabase(folder / "study" / "answers.sqlite")
    answers = database.answers()
    database.close()
    return answers


def test_pairs_are_shown_for_the_exposure_time(taken: SimpleNamespace) -> None:
    """A pair disappears with the first frame after the exposure time, or up to half a frame before it."""
    answers, enough = answers_of(taken.folder), EXPOSURE * 1000 - 8
    assert len(answers) == 10
    for frames in taken.frames:
        assert frames[-2] - frames[0] < enough <= frames[-1] - frames[0]
    seen = [frames[-1] - frames[0] for frames in taken.frames]
    assert [answer.exposure_ms for answer in answers] == seen[:3] + seen[
        4:
    ]  # the fourth was shown before the crash and not answered
    assert min(answer.response_ms for answer in answers) > 0


def test_the_server_prints_the_command_for_the_report(taken: SimpleNamespace) -> None:
    assert "python -m colorlab.study --report out=study" in taken.farewell


def report(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return run_command("study", "--report", *words, cwd=folder)


def test_the_report_counts_the_fooled_answers(taken: SimpleNamespace) -> None:
    """Three counted pairs each: the first participant recognized all fakes, the second none."""
    done = report(taken.folder, "out=study")
    assert done.returncode == 0, done.stderr
    found = json.loads((taken.folder / "study" / "report.json").read_text())
    counted = [answer for answer in answers_of(taken.folder) if answer.trial.kind == "counted"]
    assert [answer.fooled for answer in counted] == [False] * 3 + [True] * 3
    timed = [answer for answer in counted if 0.8 * EXPOSURE <= answer.exposure_ms / 1000 <= 1.2 * EXPOSURE]
    assert timed, "this machine was so busy that no pair went away in time"
    assert found["mistimed"] == len(counted) - len(timed)
    assert found["participants"] == len({answer.trial.participant for answer in timed})
    assert found["models"]["cunet"]["answers"] == len(timed)
    rate = 100 * sum(answer.fooled for answer in timed) / len(timed)
    assert found["models"]["cunet"]["value"] == pytest.approx(rate)
    assert f"{rate:.1f}" in done.stdout
    assert found["checkpoints"]["cunet"]["sha256"]
    assert VIGILANCE not in found["models"]
    for sheet in ("most_convincing", "least_convincing"):
        assert Image.open(taken.folder / "study" / f"{sheet}.png").width > 300
    (part,) = (taken.folder / "study").glob("wandb/offline-run-*")
    assert list(part.glob("*.wandb"))


def prepare_here(folder: Path, out: str, *words: str) -> dict[str, Any]:
    """Prepare a study in this process; return what it depends on."""
    folder, data = (
        folder.resolve(),
        (f"checkpoint=[{folder}/cunet.ckpt]", "data=folder", "++data.workers=0", "split=all"),
    )
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        where = (f"data.root={folder}/photographs", f"out={folder}/{out}", "trainer=cpu", "logger=csv")
        cfg = plain(compose("study", [*data, *where, *words]))
    settings = Settings(**{key: value for key, value in cfg.items() if key not in GROUPS})
    return prepare(settings, cfg, StudyFolder(Path(settings.out)))


def test_an_interrupted_preparation_can_be_repeated_with_other_settings(folder: Path) -> None:
    """The pictures exist, but study.json, which is written last, does not."""
    first = prepare_here(folder, "interrupted", "practice=0", "pictures=8")
    assert list(map(int, first["photographs"])) == list(range(8))
    (folder / "interrupted" / "study.json").unlink()
    assert list(prepare_here(folder, "interrupted", "practice=0", "pictures=3")["photographs"]) == [0, 1, 2]


def test_a_continued_study_keeps_its_pairs_and_seed(folder: Path) -> None:
    began = prepare_here(folder, "going", "practice=2", "counted=4", "vigilance=0.5", "seed=7")
    assert (began["practice"], began["counted"], began["vigilance"], began["seed"]) == (2, 4, 2, 7)
    assert prepare_here(folder, "going") == json.loads(json.dumps(began))


def test_what_is_no_source_of_photographs_is_named_as_such(folder: Path) -> None:
    with pytest.raises(UserError, match="CUNet does not make what belongs here: of type LightningDataModule"):
        prepare_here(folder, "wrong", "data._target_=colorlab.models.CUNet")


def test_a_study_needs_photographs_with_color(folder: Path) -> None:
    (gray := folder / "gray").mkdir()
    Image.new("L", (32, 32), 100).save(gray / "gray.png")
    with pytest.raises(UserError, match="0 photographs with color are too few"):
        prepare_here(folder, "colorless", f"data.root={gray}")
    assert StudyFolder(folder / "colorless").facts() is None


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["out=new"], "checkpoint is missing: add checkpoint=… to the command."),
        (["out=new", "--report"], "out=new holds no study."),
        (["out=new", "exposure=0"], "exposure=0.0 must lie between 0.05 and 60."),
        (["out=new", "conted=3"], "Unknown key conted: did you mean counted?"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(words: list[str], sentence: str, folder: Path) -> None:
    done = run_command("study", *words, cwd=folder)
    assert done.returncode == 2
    assert sentence in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_study_of_other_models_is_refused(taken: SimpleNamespace) -> None:
    torch.manual_seed(1)
    save_checkpoint(CUNet(width=2), taken.folder / "other.ckpt")
    done = run_command("study", "out=study", "checkpoint=other.ckpt", cwd=taken.folder)
    assert done.returncode == 2
    assert "holds a study of cunet" in done.stderr
