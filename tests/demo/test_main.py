"""The demo from the command to the downloaded file, with a real server and a real browser."""

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from skimage.color import rgb2lab

from colorlab.data.splits import SAMPLES
from colorlab.demo.__main__ import main
from colorlab.models import ECCV16, CUNet
from support.browser import fits_width, set_screen_size
from support.checkpoints import save_checkpoint
from support.command_process import CommandProcess

ADDRESS = r"http://127\.0\.0\.1:\d+"
PHOTOGRAPH = SAMPLES / "explore_world_animals_scarlet_macaw.jpg"
NAME = "<img src=x onerror=alert(1)>.png"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints, a large gray picture with HTML in its name, and a text file."""
    folder = tmp_path_factory.mktemp("demo")
    torch.manual_seed(0)
    save_checkpoint(CUNet(width=2), folder / "plain.ckpt")
    save_checkpoint(ECCV16(width=2, head="bins"), folder / "bins.ckpt")
    (folder / "pictures").mkdir()
    Image.open(PHOTOGRAPH).convert("L").resize((1801, 1203)).save(folder / "pictures" / NAME)
    shutil.copy(PHOTOGRAPH, folder / "pictures" / "macaw.jpg")
    (folder / "pictures" / "note.txt").write_text("no picture")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    serving = CommandProcess(
        "plain.ckpt", "bins.ckpt", "--port", "0", cwd=folder, stdout=f"{folder}_output", command="demo"
    )
    while not (serving.stdout.exists() and (found := re.search(ADDRESS, serving.output()))):
        assert serving.process.is_alive()
        time.sleep(0.05)
    yield found[0]
    os.killpg(serving.process.pid, signal.SIGINT)
    assert serving.wait() == 0


def wait(browser: webdriver.Chrome, condition: object) -> None:
    WebDriverWait(browser, 120, poll_frequency=0.05).until(condition)


def find(browser: webdriver.Chrome, name: str) -> webdriver.remote.webelement.WebElement:
    return browser.find_element(By.ID, name)


def upload(browser: webdriver.Chrome, path: Path) -> None:
    find(browser, "file").send_keys(str(path))


def wait_for_colors(browser: webdriver.Chrome) -> str:
    """Wait for the colored picture, and return its URL."""
    wait(browser, lambda browser: "busy" not in find(browser, "stage").get_attribute("class"))
    return find(browser, "colored").get_attribute("src")


def screenshot(browser: webdriver.Chrome) -> np.ndarray:
    """Return a screenshot of the stage, [H, W, 3]."""
    file = Path(os.environ["XDG_CACHE_HOME"]) / "stage.png"
    find(browser, "stage").screenshot(str(file))
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def colorful(pixels: np.ndarray) -> float:
    return np.ptp(pixels, axis=2).mean()


@pytest.fixture(scope="module")
def visit(folder: Path, address: str, browser: webdriver.Chrome) -> SimpleNamespace:
    """Color two pictures in a browser, download one, and record what the page showed."""
    seen: dict[str, object] = {}
    (downloads := folder / "downloads").mkdir()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    set_screen_size(browser, 1280, 800)
    browser.get(address)
    wait(browser, lambda browser: find(browser, "limits").text)
    seen["limits"] = find(browser, "limits").text
    upload(browser, folder / "pictures" / "note.txt")
    wait(browser, lambda browser: find(browser, "trouble").is_displayed())
    seen["message"] = find(browser, "trouble").text
    upload(browser, folder / "pictures" / NAME)
    wait(browser, lambda browser: find(browser, "gray").is_displayed())
    seen["message gone"] = not find(browser, "trouble").is_displayed()
    seen["facts"] = find(browser, "facts").text
    seen["pictures"] = [wait_for_colors(browser)]
    seen["temperature of plain"] = find(browser, "temperature").is_displayed()
    Select(find(browser, "model")).select_by_visible_text("bins")
    seen["pictures"].append(wait_for_colors(browser))
    for name in ("temperature", "saturation"):
        find(browser, name).send_keys(Keys.END)
        seen["pictures"].append(wait_for_colors(browser))

    slider, width = find(browser, "compare"), find(browser, "compare").rect["width"]
    ActionChains(browser).move_to_element(slider).click_and_hold().move_by_offset(width * 0.3, 0).release().perform()
    seen["slid"] = float(slider.get_attribute("value"))
    pixels = screenshot(browser)
    edge = round(0.8 * pixels.shape[1])
    seen["left"], seen["right"] = colorful(pixels[60:, : edge - 30]), colorful(pixels[60:, edge + 30 :])
    slider.send_keys(Keys.HOME)
    seen["by key"] = float(slider.get_attribute("value"))

    find(browser, "download").click()
    wait(browser, lambda _: list(downloads.glob("*.png")))
    seen["file"] = next(downloads.glob("*.png"))
    upload(browser, folder / "pictures" / "macaw.jpg")
    wait(browser, lambda browser: "macaw" in find(browser, "facts").text)
    set_screen_size(browser, 375, 740)
    seen["phone"] = fits_width(browser)
    seen["console"] = [each for each in browser.get_log("browser") if "422" not in each["message"]]
    return SimpleNamespace(folder=folder, **{key.replace(" ", "_"): value for key, value in seen.items()})


def test_a_picture_is_shown_in_color_and_changes_with_each_option(visit: SimpleNamespace) -> None:
    assert visit.limits == "Up to 64 MB and 50 megapixels. Nothing is kept."
    assert len(set(visit.pictures)) == 4
    assert not visit.temperature_of_plain
    assert visit.console == []


def test_the_slider_divides_gray_from_colored(visit: SimpleNamespace) -> None:
    assert visit.slid == pytest.approx(80, abs=3)
    assert visit.left < 1.5
    assert visit.right > 5 * visit.left
    assert visit.by_key == 0


def test_the_download_keeps_size_and_lightness(visit: SimpleNamespace) -> None:
    before, after = Image.open(visit.folder / "pictures" / NAME), Image.open(visit.file)
    assert (after.format, after.mode, after.size) == ("PNG", "RGB", (1801, 1203))
    lab = [rgb2lab(np.asarray(each.convert("RGB").crop((600, 300, 1000, 700))) / 255) for each in (before, after)]
    assert np.abs(lab[1][..., 0] - lab[0][..., 0]).max() < 0.6  # rounding to 8 bits
    assert np.abs(lab[1][..., 1:]).max() > 3


def test_a_file_that_is_no_picture_is_reported_and_a_name_stays_text(visit: SimpleNamespace) -> None:
    assert visit.message == "This file is not a picture that can be read."
    assert visit.message_gone
    assert visit.facts == f"{NAME} · 1801 × 1203"


def test_a_phone_shows_the_page_without_scrolling_sideways(visit: SimpleNamespace) -> None:
    assert visit.phone


def test_the_server_writes_no_file(visit: SimpleNamespace) -> None:
    assert sorted(path.name for path in visit.folder.iterdir()) == ["bins.ckpt", "downloads", "pictures", "plain.ckpt"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none.ckpt"], "none.ckpt does not exist"),
        (["pictures/note.txt"], "note.txt is not a checkpoint"),
        (["plain.ckpt", "plain.ckpt", "plain.ckpt"], "Two checkpoints have the same name"),
        (["plain.ckpt", "--device", "cuda:99"], "--device cuda:99 cannot be used"),
        (["plain.ckpt", "--megapixels", "0"], "--megabytes and --megapixels must be above 0."),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(
    words: list[str], sentence: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["colorlab-demo", *words])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert sentence in capsys.readouterr().err
