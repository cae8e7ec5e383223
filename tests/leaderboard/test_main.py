"""The leaderboard of a real sweep and of failed runs: the table, the CSV file, and the page in a real browser."""

import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

import colorlab
from colorlab.leaderboard.__main__ import main
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from support.browser import fits_width, set_screen_size
from support.commands import WITH_PICTURES, run_command

SCRIPT = "<img src=x onerror='document.title=1'></script><script>document.title=2</script>"


def write_status(folder: Path, **status: object) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "status.json").write_text(json.dumps(status))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A multirun of two finished runs, and unfinished, failed, killed and running ones beside them."""
    where = tmp_path_factory.mktemp("board")
    few = ("trainer.limit_train_batches=1", "model.width=2", "model=cunet,eccv16", "logger=csv")
    decays = ("callbacks=plateau", "callbacks.plateau.patience=1", "callbacks.plateau.min_delta=1e9")
    places = ("hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra.job.num}")
    small = [word for word in WITH_PICTURES if not word.startswith(("model", "logger"))]
    done = run_command("train", "-m", *small, *few, *decays, *places, cwd=where)
    assert done.returncode == 0, done.stderr
    folder = where / "sweep"
    written = sorted(path.name for path in folder.glob("leaderboard.*"))

    addresses = {"wandb": "https://wandb.example/team/fish/runs/1", "evil": "javascript:document.title=3"}
    (folder / "0" / "trackers.json").write_text(json.dumps(addresses))
    unfinished = folder / "unfinished"
    shutil.copytree(folder / "0", unfinished)
    (unfinished / "status.json").unlink()
    lines = (folder / "0" / "metrics.csv").read_text().splitlines()
    (unfinished / "metrics.csv").write_text("\n".join([*lines[:2], ""]))
    sheet = unfinished / "comparison" / "epoch001.png"
    sheet.write_bytes(sheet.read_bytes()[:1000])  # truncated, as on a full disk
    write_status(
        folder / SCRIPT.replace("/", "∕"), status="failed", reason=f"RuntimeError: {SCRIPT}",
        started="2026-11-25T10:00:00+01:00", ended="2026-11-25T11:30:00+01:00",
        overrides=["model=cunet", f"run.name={SCRIPT}"],
    )  # fmt: skip
    ended = subprocess.Popen(["true"])
    ended.wait()
    host = subprocess.run(["hostname"], text=True, capture_output=True, check=True).stdout.strip()
    write_status(folder / "killed", status="running", pid=ended.pid, host=host, overrides=["model=cunet"])
    write_status(folder / "elsewhere", status="running", pid=ended.pid, host="another", overrides=["model=cunet"])
    return SimpleNamespace(folder=folder, out=done.stdout, written=written)


@pytest.fixture
def leaderboard(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run the command in this process, which saves the imports of a new one, and return what it printed."""

    def run(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["colorlab-leaderboard", *map(str, words)])
        main()
        return capsys.readouterr().out

    return run


def rows_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "leaderboard.csv").open(newline="") as file:
        return {row["run"]: row for row in csv.DictReader(file)}


def test_a_multirun_ends_with_its_leaderboard(sweep: SimpleNamespace) -> None:
    assert sweep.written == ["leaderboard.csv", "leaderboard.html"]
    assert "leaderboard: sweep/leaderboard.html" in sweep.out
    heading = next(line for line in sweep.out.splitlines() if "best loss" in line)
    assert heading.split()[:3] == ["run", "model", "status"]  # what both have in common is left out


def test_numbers_are_of_the_best_epoch(sweep: SimpleNamespace, leaderboard: Callable[..., str], tmp_path: Path) -> None:
    leaderboard(sweep.folder, "--out", tmp_path)
    rows = rows_of(tmp_path)
    for name, model in (("0", "cunet"), ("1", "eccv16")):
        row, folder = rows[name], RunFolder(sweep.folder / name)
        metrics = read_metrics(folder)
        best = min(metrics["val/loss"], key=metrics["val/loss"].get)
        assert (row["model"], row["status"], row["epochs"], row["best_epoch"]) == (model, "done", "2", str(best))
        for column, metric in (("loss", "loss"), ("psnr", "psnr"), ("colorfulness", "colorfulness")):
            assert float(row[column]) == metrics[f"val/{metric}"][best]
        network = colorlab.load(folder.checkpoints.newest())
        assert int(row["parameters"]) == sum(weights.numel() for weights in network.parameters())
        assert float(row["speed"]) > 0
        assert 0 < float(row["time"]) < 300
    order = [float(row["loss"]) for row in rows.values() if row["loss"]]
    assert order == sorted(order)
    assert [row["loss"] for row in rows.values()][-3:] == ["", "", ""]


def test_failed_and_unfinished_runs_are_shown(
    sweep: SimpleNamespace, leaderboard: Callable[..., str], tmp_path: Path
) -> None:
    output = leaderboard(sweep.folder, "--out", tmp_path)
    rows = rows_of(tmp_path)
    assert {name: row["status"] for name, row in rows.items() if len(name) < 20} == {
        "0": "done", "1": "done", "unfinished": "unfinished", "killed": "killed", "elsewhere": "running",
    }  # fmt: skip
    (failed,) = (row for row in rows.values() if row["status"] == "failed")
    assert failed["reason"] == f"RuntimeError: {SCRIPT}"
    assert float(failed["time"]) == 90 * 60
    assert rows["unfinished"]["epochs"] == "1"
    assert "1 / 2" in output
    assert "1 h 30 min" in output


def test_sort_orders_the_rows(sweep: SimpleNamespace, leaderboard: Callable[..., str], tmp_path: Path) -> None:
    leaderboard(sweep.folder, "--out", tmp_path, "--sort", "parameters")
    counts = [int(row["parameters"]) for row in rows_of(tmp_path).values() if row["parameters"]]
    assert len(counts) == 3
    assert counts == sorted(counts, reverse=True)
    leaderboard(sweep.folder, "--out", tmp_path, "--sort", "model")
    assert [row["model"] for row in rows_of(tmp_path).values()][-1] == "eccv16"


def test_a_run_that_monitors_psnr_shows_the_epoch_of_its_best_psnr(
    sweep: SimpleNamespace, leaderboard: Callable[..., str], tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    config = (sweep.folder / "0" / "config.yaml").read_text()
    folder.config.write_text(
        config.replace("monitor: val/loss\n    save", "monitor: val/psnr\n    mode: max\n    save")
    )
    folder.metrics.write_text("epoch,step,val/loss,val/psnr\n0,0,1.0,20\n1,1,3.0,23\n2,2,2.0,21\n")
    leaderboard(tmp_path)
    (row,) = rows_of(tmp_path).values()
    assert (row["monitor"], row["best_epoch"], row["psnr"], row["loss"]) == ("val/psnr", "1", "23.0", "3.0")


def test_several_folders_make_one_table(
    sweep: SimpleNamespace, leaderboard: Callable[..., str], tmp_path: Path
) -> None:
    for name, run in (("monday", "0"), ("tuesday", "1")):
        shutil.copytree(sweep.folder / run, tmp_path / name / run)
    output = leaderboard(tmp_path / "monday", tmp_path / "tuesday", tmp_path / "monday" / "0")
    assert set(rows_of(tmp_path)) == {"monday/0", "tuesday/1"}
    assert "monday/0" in output


def test_a_note_warns_that_losses_of_different_objectives_do_not_compare(
    sweep: SimpleNamespace, leaderboard: Callable[..., str], tmp_path: Path
) -> None:
    for name in ("0", "1"):
        shutil.copytree(sweep.folder / name, tmp_path / name)
    config = tmp_path / "1" / "config.yaml"
    config.write_text(config.read_text().replace("torch.nn.MSELoss", "torch.nn.L1Loss"))
    assert "different objectives" in leaderboard(tmp_path)
    assert "different objectives" not in leaderboard(sweep.folder, "--out", tmp_path)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["."], "There is no run in ."),
        (["sweep", "--sort", "pnsr"], "--sort pnsr: did you mean psnr?"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(
    words: list[str], sentence: str, sweep: SimpleNamespace, tmp_path: Path, leaderboard: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.chdir(sweep.folder.parent if "sweep" in words else tmp_path)
    with pytest.raises(SystemExit, match="2"):
        leaderboard(*words)
    assert sentence in capsys.readouterr().err


# -- the page ----------------------------------------------------------------------------------------


@pytest.fixture
def page(sweep: SimpleNamespace, leaderboard: Callable[..., str], browser: webdriver.Chrome) -> webdriver.Chrome:
    leaderboard(sweep.folder)
    set_screen_size(browser, 1440, 900)
    browser.get((sweep.folder / "leaderboard.html").as_uri())
    return browser


def column(page: webdriver.Chrome, key: str) -> list[str]:
    return [cell.text for cell in page.find_elements(By.CSS_SELECTOR, f"td[data-key={key}]")]


def highlighted(page: webdriver.Chrome, kind: str) -> list[str]:
    """Return the runs that are highlighted in one part of the page."""
    return [element.get_attribute("data-run") for element in page.find_elements(By.CSS_SELECTOR, f"{kind}.on")]


def test_the_page_shows_every_run_and_no_name_runs_as_script(page: webdriver.Chrome, sweep: SimpleNamespace) -> None:
    assert len(page.find_elements(By.CSS_SELECTOR, "tbody tr")) == 6
    assert SCRIPT in page.find_element(By.ID, "table").text
    assert page.title == "sweep: leaderboard"
    assert page.get_log("browser") == []
    outside = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in outside if not name.startswith("data:")] == []
    assert (sweep.folder / "leaderboard.html").stat().st_size < 1_000_000


def test_a_click_on_a_heading_sorts_and_keeps_runs_without_the_number_last(page: webdriver.Chrome) -> None:
    heading = page.find_element(By.CSS_SELECTOR, "th[data-key=psnr] button")
    for rising in (False, True):
        heading.click()
        numbers = [float(text) for text in column(page, "psnr")[:3]]
        assert numbers == sorted(numbers, reverse=not rising)
        assert column(page, "psnr")[3:] == ["–"] * 3


def test_curves_are_the_logged_losses_and_hovering_highlights_a_run(
    page: webdriver.Chrome, sweep: SimpleNamespace
) -> None:
    content = json.loads(page.execute_script("return document.getElementById('content').textContent"))
    by_name = {run["name"]: run["curves"] for run in content["runs"]}
    for name in ("0", "1"):
        for metric, course in read_metrics(RunFolder(sweep.folder / name)).items():
            if metric in by_name[name]:
                assert dict(map(tuple, by_name[name][metric])) == pytest.approx(course, rel=1e-4), metric
    assert content["metrics"][0] == "val/loss"
    assert len(page.find_elements(By.CSS_SELECTOR, "polyline.curve")) == 3
    assert len(page.find_elements(By.CSS_SELECTOR, "path.mark")) == 2  # the finished runs decayed in their second epoch
    assert highlighted(page, "polyline") == []
    dot = page.find_element(By.CSS_SELECTOR, "circle.dot")
    ActionChains(page).move_to_element(dot).perform()
    assert highlighted(page, "polyline") == highlighted(page, "tr") == [dot.get_attribute("data-run")]
    assert page.find_element(By.ID, "tip").is_displayed()


def test_the_pictures_of_all_runs_are_of_the_same_photographs(page: webdriver.Chrome, sweep: SimpleNamespace) -> None:
    """The strips are the photographs and the two finished runs; the sheet of the third run is truncated."""
    strips = page.find_elements(By.CSS_SELECTOR, ".strip")
    assert len(strips) == 3
    names = [[each.get_attribute("alt") for each in strip.find_elements(By.TAG_NAME, "img")] for strip in strips]
    assert names[0] == names[1] == names[2]
    assert len(names[0]) == 10
    sizes = page.execute_async_script(
        "const done = arguments[0]; const all = [...document.images];"
        "Promise.all(all.map((each) => each.decode())).then(() => done(all.map((each) => each.naturalWidth)));"
    )
    assert sizes == [144] * 30


def test_links_lead_to_the_files_of_the_run(page: webdriver.Chrome, sweep: SimpleNamespace) -> None:
    page.find_element(By.CSS_SELECTOR, "tr[data-run='0'] .link").click()
    links = {each.text: each.get_attribute("href") for each in page.find_elements(By.CSS_SELECTOR, "#places a")}
    assert links.pop("wandb") == "https://wandb.example/team/fish/runs/1"
    assert "evil" not in links  # a javascript: link could run a script
    paths = {text: Path(unquote(urlsplit(href).path)) for text, href in links.items()}
    assert {"folder", "best checkpoint", "last checkpoint", "configuration", "curves"} <= set(paths)
    assert all(path.exists() for path in paths.values())
    run = RunFolder(paths["folder"])
    assert paths["best checkpoint"] == run.checkpoints.best()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone_in_light_and_dark_mode(page: webdriver.Chrome, scheme: str) -> None:
    set_screen_size(page, 360, 740)
    prefers = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", prefers)
    assert fits_width(page)
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    shade = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (shade > 600) == (scheme == "light")
