"""The picture of a run's metrics, checked by its pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer, seed_everything
from PIL import Image
from scipy.ndimage import binary_erosion, label
from torch import nn

from colorlab.callbacks.curves import Curves, draw_curves
from colorlab.data import ColorDataModule
from colorlab.loggers import MetricsCSV
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.schedules import Constant

BLUE, ORANGE, GREEN = (0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E), (0x2C, 0xA0, 0x2C)  # matplotlib's first three colors


def fit(path: Path, epochs: int, **settings) -> RunFolder:
    """Train a small network on a few of the built-in photographs, and write end.ckpt."""
    path.mkdir(exist_ok=True)
    seed_everything(0, verbose=False)
    model = CUNet(width=2)
    model.prepare_training(nn.MSELoss(), lambda params: torch.optim.Adam(params, 1e-2, weight_decay=1e-4), Constant())
    trainer = Trainer(
        max_epochs=epochs, default_root_dir=path, callbacks=[Curves()], logger=MetricsCSV(str(path)),
        accelerator="cpu", limit_train_batches=2, limit_val_batches=1, log_every_n_steps=1, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=ColorDataModule(size=32, batch_size=8, workers=0), **settings)
    trainer.save_checkpoint(path / "end.ckpt")
    return RunFolder(path)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def panels(path: Path) -> list[np.ndarray]:
    return np.array_split(pixels(path), 4, axis=1)


def drawn(panel: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return np.abs(panel - color).max(axis=-1) < 30


def ends(panel: np.ndarray, color: tuple[int, int, int]) -> tuple[float, float]:
    """Return the rows in which a curve begins and ends, from the top."""
    rows, columns = np.nonzero(drawn(panel, color))
    return rows[columns == columns.min()].mean(), rows[columns == columns.max()].mean()


def test_the_curves_rise_and_fall_with_the_numbers(tmp_path: Path) -> None:
    rising, falling = {0: 1.0, 1: 2.0, 2: 3.0}, {0: 3e-2, 1: 2e-2, 2: 1e-2}
    names = (
        ("train/loss", "val/loss"),
        ("val/psnr", "val/psnr_gray"),
        ("val/colorfulness", "val/colorfulness_true"),
        ("optim/lr", "optim/weight_decay"),
    )
    draw_curves(
        {name: course for pair in names for name, course in zip(pair, (rising, falling), strict=True)},
        tmp_path / "curves.png",
    )
    for panel in panels(tmp_path / "curves.png"):
        begin, end = ends(panel, BLUE)
        assert begin > end
        begin, end = ends(panel, ORANGE)
        assert begin < end


def test_a_resumed_run_draws_the_curves_of_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, half = fit(tmp_path / "whole", 4), fit(tmp_path / "parts", 2)
    before = pixels(half.curves)
    resumed = fit(tmp_path / "parts", 4, ckpt_path=half.path / "end.ckpt", weights_only=True)
    assert sorted(read_metrics(resumed)["train/loss"]) == [0, 1, 2, 3]
    assert not np.array_equal(pixels(resumed.curves), before)
    assert np.array_equal(pixels(resumed.curves), pixels(whole.curves))
    for panel in panels(resumed.curves):
        for color in (BLUE, ORANGE):
            columns = np.nonzero(drawn(panel, color))[1]
            assert np.ptp(columns) > panel.shape[1] / 2


def test_a_run_of_one_epoch_is_drawn_as_points(tmp_path: Path) -> None:
    folder = fit(tmp_path, 1)
    for panel in panels(folder.curves):
        for color in (BLUE, ORANGE):
            spots = binary_erosion(drawn(panel, color), np.ones((4, 4)))
            assert label(spots)[1] == 2  # one of them in the legend


def test_metrics_that_were_not_logged_leave_their_panel_empty(tmp_path: Path) -> None:
    draw_curves({"train/loss": {0: 2.0, 1: 1.0}, "optim/lr": {0: 0.0, 1: 0.0}}, tmp_path / "curves.png")
    loss, psnr, _, rate = panels(tmp_path / "curves.png")
    assert drawn(loss, BLUE).any()
    assert drawn(rate, BLUE).any()
    assert not drawn(psnr, BLUE).any()


def test_the_best_epoch_of_the_monitored_metric_is_marked_in_every_panel(tmp_path: Path) -> None:
    metrics = {name: {0: 1.0, 1: 3.0, 2: 2.0, 3: float("nan")} for name in ("val/psnr", "val/loss")}
    places = {}
    for monitor in ("val/psnr", "val/loss", None):
        draw_curves(metrics, tmp_path / "curves.png", monitor)
        loss, psnr, empty, _ = (drawn(panel, GREEN) for panel in panels(tmp_path / "curves.png"))
        assert not empty.any()
        places[monitor] = [panel.sum(axis=0).argmax() if panel.any() else None for panel in (loss, psnr)]
    (left, right), (other_left, other_right), none = places.values()
    assert left - other_left == pytest.approx(right - other_right, abs=2)
    assert left > other_left + 50, "PSNR is best in epoch 1, the loss in epoch 0"
    assert none == [None, None]
