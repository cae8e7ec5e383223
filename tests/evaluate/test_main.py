"""`colorlab-evaluate` in real processes on real photographs."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from PIL import Image, ImageChops
from torchvision.transforms.v2.functional import resize

import colorlab
from colorlab.color import rgb_to_lab
from colorlab.config import conf_folder, plain
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.evaluate.evaluation import evaluate
from colorlab.evaluate.report import Report, read_report
from colorlab.evaluate.reproduction import compare
from colorlab.export.__main__ import main as export
from colorlab.images.contact_sheet import CAPTION, CELL, GAP, HEADER
from colorlab.images.decoding import read_photograph
from colorlab.metrics import MEASURES, Colored, measure
from colorlab.models import CUNet
from support.checkpoints import save_checkpoint
from support.commands import run_command

COUNT = 6


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    words = ("trainer=cpu", "data=folder", "data.root=photographs", "data.workers=0", "split=all", *overrides)
    return run_command("evaluate", *words, cwd=folder)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two networks evaluated on six photographs, in a folder that also holds a gray one."""
    folder = tmp_path_factory.mktemp("evaluated")
    (root := folder / "photographs").mkdir()
    for name in find_photographs(SAMPLES)[:: 201 // COUNT][:COUNT]:
        shutil.copy(SAMPLES / name, root)
    Image.new("RGB", (300, 200), "#808080").save(root / "gray.png")
    models = {}
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        models[name] = CUNet(width=2).eval()
        save_checkpoint(models[name], folder / f"{name}.ckpt")
    done = run(folder, "checkpoint=first.ckpt,second.ckpt", "hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "out" / "evaluation.json").read_text())
    return SimpleNamespace(folder=folder, models=models, out=done.stdout, found=found, results=folder / "out")


def pictures(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """pictures.csv by model and picture."""
    with path.open(newline="") as file:
        return {
            (row.pop("model"), row.pop("picture")): {name: float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        }


def test_a_list_of_test_photographs_alone_is_evaluated(evaluated: SimpleNamespace) -> None:
    names = sorted(path.name for path in (evaluated.folder / "photographs").glob("*.jpg"))
    rows = [f"photographs/{name},test" for name in names]
    (evaluated.folder / "list.csv").write_text("\n".join(["path,split", *rows]))
    words = ("checkpoint=first.ckpt", "data.root=list.csv", "split=test", "metrics=psnr", "hydra.run.dir=listed")
    done = run(evaluated.folder, *words)
    assert done.returncode == 0, done.stderr
    found = pictures(evaluated.folder / "listed" / "pictures.csv")
    assert {name for model, name in found if model == "first"} == {f"photographs/{name}" for name in names}


def test_the_scores_of_each_picture_equal_those_computed_here(evaluated: SimpleNamespace) -> None:
    found = pictures(evaluated.results / "pictures.csv")
    names = sorted(path.name for path in (evaluated.folder / "photographs").glob("*.jpg"))
    assert set(found) == {(model, name) for model in ("gray", "true", "first", "second") for name in names}
    for name in names:
        rgb = read_photograph(evaluated.folder / "photographs" / name)[None].float() / 255
        rgb = torch.nn.functional.interpolate(rgb, (256, 256), mode="bilinear", antialias=True)
        lightness, true = rgb_to_lab((rgb * 255).round().to(torch.uint8))
        with torch.no_grad():
            predicted = {key: model(lightness) for key, model in evaluated.models.items()}
        predicted |= {"gray": true * 0, "true": true}
        for model, ab in predicted.items():
            expected = measure(Colored(lightness, ab, true))
            for metric in MEASURES:
                near = {"psnr": 0.1, "colorfulness": 0.1, "ciede2000": 0.05}.get(metric, 0.02)  # resized elsewhere
                assert found[model, name][metric] == pytest.approx(expected[metric].item(), abs=near), (model, metric)


def test_the_scores_of_a_model_are_the_means_over_its_pictures(evaluated: SimpleNamespace) -> None:
    each = pictures(evaluated.results / "pictures.csv")
    for model in ("gray", "first"):
        rows = [values for (name, _), values in each.items() if name == model]
        held = evaluated.found["models"][model]
        for metric in ("psnr", "ssim", "ms_ssim", "ciede2000", "auc", "lite0_distance"):
            mean = sum(row[metric] for row in rows) / COUNT
            assert held[metric]["value"] == pytest.approx(mean, rel=1e-5)
            assert held[metric]["low"] <= mean <= held[metric]["high"]


def test_the_photograph_itself_has_perfect_scores(evaluated: SimpleNamespace) -> None:
    true = evaluated.found["models"]["true"]
    assert true["psnr"]["value"] == "inf"
    assert true["delta_colorfulness"]["value"] == 0
    assert true["ciede2000"]["value"] < 1e-4
    assert true["lite0_agreement"]["value"] == 100


def test_the_results_record_what_they_depend_on(evaluated: SimpleNamespace) -> None:
    found = evaluated.found
    assert (found["protocol"], found["split"], found["pictures"]) == ("stretch256", "all", COUNT)
    file = (evaluated.folder / "first.ckpt").read_bytes()
    assert found["checkpoints"]["first"]["sha256"] == hashlib.sha256(file).hexdigest()
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["prior"] == "the colors of the pictures judged"
    assert set(found["left_out"]) == {"lpips", "fid", "kid"}
    with (evaluated.results / "evaluation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["gray", "true", "first", "second"]
    for row in rows:
        assert row["fingerprint"] == found["fingerprint"]
        assert float(row["psnr"]) == float(found["models"][row["model"]]["psnr"]["value"])
    markdown = (evaluated.results / "evaluation.md").read_text()
    assert "| first |" in markdown
    assert found["fingerprint"] in markdown


def test_the_screen_shows_the_table_and_what_was_left_out(evaluated: SimpleNamespace) -> None:
    for words in ("PSNR (dB) ↑", "Lite0 agreement (%) ↑", "without LPIPS", "1 gray", "results: out"):
        assert words in evaluated.out
    assert f"{evaluated.found['models']['first']['psnr']['value']:.2f}" in evaluated.out


def test_the_extremes_are_drawn(evaluated: SimpleNamespace) -> None:
    for model in ("first", "second"):
        for metric in ("psnr", "auc_rebalanced", "lite0_distance"):
            stem = evaluated.results / "sheets" / f"{model}_{metric}"
            best, worst = (Image.open(f"{stem}_{kind}.jpg") for kind in ("best", "worst"))
            assert best.size == worst.size
            assert best.tobytes() != worst.tobytes()
    assert Image.open(evaluated.results / "evaluation.png").width > 600


def test_the_examples_are_drawn_side_by_side_for_all_models(evaluated: SimpleNamespace) -> None:
    sheet = Image.open(evaluated.results / "sheets" / "side_by_side.jpg")
    assert sheet.size == (4 * (CELL + GAP) + 3 * GAP, HEADER + COUNT * (CELL + CAPTION + GAP))
    columns = [
        sheet.crop((2 * GAP + place * (CELL + GAP), HEADER, (place + 1) * (CELL + GAP), sheet.height))
        for place in range(4)
    ]
    true, gray, first, second = columns
    colored, plain = (np.ptp(np.asarray(each, dtype=int), axis=2).mean() for each in (true, gray))
    assert plain < 1 < colored
    assert ImageChops.difference(first, second).getbbox()


def test_the_tracker_receives_the_numbers_and_the_pictures(evaluated: SimpleNamespace) -> None:
    (part,) = evaluated.results.glob("wandb/offline-run-*")
    words = ("leet", "inspect", "--summary", "--json", part)
    done = subprocess.run([Path(sys.executable).with_name("wandb"), *words], capture_output=True, text=True, check=True)
    summary = json.dumps(json.loads(done.stdout))
    assert f"{evaluated.found['models']['second']['ssim']['value']:.6f}"[:-1] in summary
    assert "evaluation/first_psnr_worst" in summary


def test_two_processes_and_another_batch_give_the_same_numbers(evaluated: SimpleNamespace) -> None:
    two = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=2", "logger=csv")
    done = run(evaluated.folder, "checkpoint=first.ckpt", *two, "hydra.run.dir=two")
    assert done.returncode == 0, done.stderr
    found = json.loads((evaluated.folder / "two" / "evaluation.json").read_text())
    assert found["fingerprint"] == evaluated.found["fingerprint"]
    for model, held in found["models"].items():
        for metric, estimate in held.items():
            for key, value in estimate.items():
                near = value if value in (None, "inf") else pytest.approx(value, rel=1e-4, abs=1e-5)
                assert evaluated.found["models"][model][metric][key] == near, (model, metric)
    sheets = {path.name for path in (evaluated.results / "sheets").iterdir() if not path.name.startswith("second_")}
    assert {path.name for path in (evaluated.folder / "two" / "sheets").iterdir()} == sheets


def evaluate_here(folder: Path, *overrides: str) -> Report:
    """Evaluate in this process."""
    words = [f"data.root={folder / 'photographs'}", "data.workers=0", "trainer.enable_progress_bar=false", *overrides]
    words = [f"++{word}" if "." in word.partition("=")[0] else word for word in words]
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        cfg = plain(compose("evaluate", ["trainer=cpu", "data=folder", "logger=csv", *words]))
    return evaluate(cfg, folder / "evaluated")


def test_the_native_protocol_keeps_the_pictures_own_lightness(evaluated: SimpleNamespace) -> None:
    words = ("protocol=native", "split=all", "metrics=[psnr,ssim]")
    report = evaluate_here(evaluated.folder, f"checkpoint=[{evaluated.folder}/first.ckpt]", *words)
    assert report.metrics == ["psnr", "ssim"]
    model = colorlab.load(evaluated.folder / "first.ckpt")
    for place, name in enumerate(report.names):
        lightness, true = rgb_to_lab(read_photograph(evaluated.folder / "photographs" / name)[None])
        shown = resize(read_photograph(evaluated.folder / "photographs" / name)[None] / 255, [256, 256], antialias=True)
        with torch.no_grad():
            small = model(rgb_to_lab(shown.clamp(0, 1))[0])
        predicted = {"gray": true * 0, "first": resize(small, list(true.shape[-2:]), antialias=False)}
        for name_of_model, ab in predicted.items():
            for metric, value in measure(Colored(lightness, ab, true), ["psnr", "ssim"]).items():
                found = report.records[name_of_model][metric][place].item()
                assert found == pytest.approx(value.item(), rel=1e-4), name_of_model


def test_bf16_affects_predictions_but_not_metrics(evaluated: SimpleNamespace) -> None:
    words = (f"checkpoint=[{evaluated.folder}/first.ckpt]", "split=all", "metrics=[psnr,ciede2000,lite0_distance]")
    report = evaluate_here(evaluated.folder, *words, "trainer.precision=bf16-true")
    for baseline in ("gray", "true"):
        for metric, estimate in report.estimates[baseline].items():
            expected = float(evaluated.found["models"][baseline][metric]["value"])
            assert vars(estimate)["value"] == pytest.approx(expected, abs=1e-4)
    found, exact = (report.estimates["first"]["psnr"].value, evaluated.found["models"]["first"]["psnr"]["value"])
    assert found == pytest.approx(exact, abs=0.2)


def test_retrained_models_are_compared_with_the_written_intervals(
    evaluated: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """first is within the intervals, second is not, third is missing; other photographs are not compared."""
    written = json.loads((evaluated.results / "evaluation.json").read_text())
    written["models"]["second"]["psnr"] |= {"value": 40.0, "low": 39.0, "high": 41.0}
    for key in ("models", "checkpoints"):
        written[key]["third"] = written[key]["first"]
    (file := tmp_path / "written.json").write_text(json.dumps(written))
    files = ",".join(str(evaluated.folder / name) for name in ("first.ckpt", "second.ckpt"))
    evaluate_here(evaluated.folder, f"checkpoint=[{files}]", "split=all", "metrics=[psnr,ssim]", f"against={file}")
    now = evaluated.found["models"]["second"]["psnr"]["value"]
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"against {file}: 3 of 4 values lie within the written intervals",
        f"  second: PSNR (dB) {now:.2f}, written 40.00 (39.00–41.00)",
        "  third: not judged now",
    ]
    file.write_text(json.dumps(written | {"fingerprint": "of others"}))
    assert compare(read_report(evaluated.results / "evaluation.json"), read_report(file), "it") == [
        "not compared with it: it has another fingerprint"
    ]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["split=all", "against=nowhere.json"], "There is no evaluation at nowhere.json"),
        (["checkpoint=[missing.ckpt]"], "missing.ckpt does not exist"),
        (["checkpoint=[first.ckpt,first.ckpt]"], "twice"),
        (["checkpoint=[photographs/gray.png]"], "not a checkpoint"),
        (["split=all", "metrics=[pnsr]"], "did you mean psnr"),
        (["run.notse=x"], "did you mean run.notes"),
        (["split=all", "metrics=[fid]"], "inception=PATH"),
        (["data._target_=colorlab.models.CUNet"], "CUNet does not make what belongs here: of type LightningDataModule"),
        (["trainer._target_=torch.nn.L1Loss"], "L1Loss does not make what belongs here: of type Trainer"),
        (["logger.x._target_=torch.nn.L1Loss"], "logger.x._target_=torch.nn.L1Loss does not make .*: of type Logger"),
        (["protocol=square"], "protocol=square must be one of stretch256, native"),
        (["split=test"], "split=test of .*photographs is empty"),
        (["data.size=64"], "data.size=64 does not fit protocol=stretch256"),
        (["split=all", "prior=nowhere.npz"], "no prior at nowhere.npz"),
        (["split=all", "alexnet=nowhere.pth"], "no weights for LPIPS at nowhere.pth"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence(
    overrides: list[str], sentence: str, evaluated: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated.folder)
    given = [] if "checkpoint" in overrides[0] else ["checkpoint=[first.ckpt]"]
    with pytest.raises(UserError, match=sentence):
        evaluate_here(evaluated.folder, *given, *overrides)


def test_the_command_exits_with_a_sentence_and_code_2(tmp_path: Path) -> None:
    done = run_command("evaluate", "checkpiont=a.ckpt", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.strip() == "colorlab: Unknown key checkpiont: did you mean checkpoint?"


def test_a_model_card_holds_the_table_and_no_local_path(
    evaluated: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(evaluated.folder)
    words = ["first.ckpt", "--to", "huggingface", "-o", "painter", "--evaluation", "out/evaluation.json"]
    monkeypatch.setattr(sys, "argv", ["colorlab-export", *words])
    export()
    card = Path("painter/README.md").read_text()
    table = [line for line in (evaluated.results / "evaluation.md").read_text().splitlines() if line.startswith("|")]
    assert len(table) == 6
    assert "\n".join(table) in card
    assert f"first: first.ckpt, SHA-256 {evaluated.found['checkpoints']['first']['sha256']}" in card
    assert str(evaluated.folder) not in card
    assert str(Path.home()) not in card
    torch.manual_seed(7)
    save_checkpoint(CUNet(width=2), evaluated.folder / "third.ckpt")
    monkeypatch.setattr(sys, "argv", ["colorlab-export", "third.ckpt", *words[1:3], *words[5:]])
    with pytest.raises(SystemExit, match="2"):
        export()
    assert "evaluates other files than this checkpoint: first, second." in capsys.readouterr().err
    assert not Path("third").exists()
