"""The contact sheet of the callback, against the same pictures made with Pillow and scikit-image."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Trainer, seed_everything
from PIL import Image, ImageChops, ImageDraw, ImageFont
from skimage.color import lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio
from torch import nn

from colorlab.bins import CENTERS, COUNT
from colorlab.callbacks.comparison import Comparison, compare
from colorlab.data import ColorDataModule
from colorlab.data.splits import SAMPLES
from colorlab.images.contact_sheet import CAPTION, CELL, GAP, HEADER, Row
from colorlab.models import CUNet
from colorlab.objectives import Prediction
from colorlab.runs.folder import RunFolder
from colorlab.schedules import Constant

TEN_ROWS = (2 * (3 * (CELL + GAP) + 2 * GAP) + GAP, HEADER + 5 * (CELL + CAPTION + GAP))


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Two epochs and a test, with photographs of the size of a sheet's cells, so that nothing is resized twice."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    seed_everything(0, verbose=False)
    model = CUNet(width=2)
    model.prepare_training(nn.MSELoss(), lambda params: torch.optim.Adam(params, 1e-2), Constant())
    data = ColorDataModule(size=CELL, batch_size=8, val_fraction=0.12, test_fraction=0.12, workers=0)
    trainer = Trainer(
        max_epochs=2, default_root_dir=folder.path, callbacks=[Comparison()], logger=False, accelerator="cpu",
        limit_train_batches=2, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    trainer.test(model, datamodule=data, verbose=False)
    return SimpleNamespace(folder=folder, model=model.eval(), names=data.names)


def sheet(folder: RunFolder, name: str) -> Image.Image:
    return Image.open(folder.comparison / name)


def box(place: int, column: int) -> tuple[int, int]:
    """Return the upper left corner of a cell in a sheet of ten rows of three pictures."""
    block, line = divmod(place, 5)
    x = 2 * GAP + block * (3 * (CELL + GAP) + 2 * GAP) + column * (CELL + GAP)
    return x, HEADER + line * (CELL + CAPTION + GAP)


def cell(picture: Image.Image, place: int, column: int) -> np.ndarray:
    x, y = box(place, column)
    return np.asarray(picture.crop((x, y, x + CELL, y + CELL))) / 255


def has_caption(picture: Image.Image, place: int, column: int, text: str) -> bool:
    x, y = box(place, column)
    expected = Image.new("RGB", (CELL, CAPTION), "#ffffff")
    font = ImageFont.load_default(14)
    ImageDraw.Draw(expected).text((CELL / 2, CAPTION / 2), text, "#222222", font, anchor="mm")
    found = picture.crop((x, y + CELL, x + CELL, y + CELL + CAPTION))
    return ImageChops.difference(found, expected).getbbox() is None


def spread(names: list[str]) -> list[str]:
    return [names[place] for place in np.linspace(0, len(names) - 1, 10).round().astype(int)]


def photograph(name: str) -> np.ndarray:
    with Image.open(SAMPLES / name) as picture:
        return np.asarray(picture.convert("RGB").resize((CELL, CELL), Image.Resampling.BILINEAR)) / 255


def colored(lab: np.ndarray, ab: np.ndarray | float) -> np.ndarray:
    """Return the picture with a photograph's lightness and the given ab."""
    lab = lab.copy()
    lab[..., 1:] = ab
    return lab2rgb(lab).clip(0, 1)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one - other).mean() * 255)


@pytest.mark.parametrize(("file", "split"), [("epoch001.png", "val"), ("test.png", "test")])
def test_ten_rows_show_true_gray_and_predicted_pictures(shown: SimpleNamespace, file: str, split: str) -> None:
    picture = sheet(shown.folder, file)
    assert picture.size == TEN_ROWS
    for place, name in enumerate(spread(shown.names[split])):
        true = photograph(name)
        lab = rgb2lab(true)
        with torch.no_grad():
            ab = shown.model(torch.from_numpy(lab[None, None, ..., 0]).float())[0].permute(1, 2, 0).numpy()
        for column, expected in enumerate((true, colored(lab, 0), colored(lab, ab))):
            assert difference(cell(picture, place, column), expected) < 1, (name, column)
        assert difference(cell(picture, place, 2), cell(picture, place, 1)) > 0


def test_the_captions_are_names_and_psnr(shown: SimpleNamespace) -> None:
    picture = sheet(shown.folder, "epoch001.png")
    for place, name in enumerate(spread(shown.names["val"])):
        true = cell(picture, place, 0)
        for column in (1, 2):
            score = peak_signal_noise_ratio(true, cell(picture, place, column), data_range=1)
            near = {f"{score + offset:.1f} dB" for offset in (-0.02, 0.02)}  # cells are rounded to 8 bits
            assert any(has_caption(picture, place, column, text) for text in near), (name, near)
        stem = Path(name).stem
        cut = ["…" + stem[start:] for start in range(1, len(stem))]
        assert any(has_caption(picture, place, 0, text) for text in (stem, *cut)), name


def test_the_photographs_stay_the_same_while_the_predictions_change(shown: SimpleNamespace) -> None:
    first, second = (sheet(shown.folder, f"epoch00{epoch}.png") for epoch in (0, 1))
    for place in range(10):
        for column in (0, 1):
            assert np.array_equal(cell(first, place, column), cell(second, place, column))
        assert not np.array_equal(cell(first, place, 2), cell(second, place, 2))


def row(ab: float = 30.0, logits: torch.Tensor | None = None) -> Row:
    return compare(
        torch.full((1, 1, 16, 16), 60.0), torch.full((1, 2, 16, 16), ab), Prediction(torch.zeros(1, 2, 16, 16), logits)
    )


def test_a_network_of_bins_shows_the_most_probable_color_and_its_probability() -> None:
    chosen = 100
    logits = torch.zeros(1, COUNT, 4, 4)
    logits[:, chosen] = 50
    pictures, captions = row(logits=logits).pictures, row(logits=logits).captions
    assert list(pictures) == ["true", "gray", "predicted", "mode", "confidence"]
    expected = colored(np.full((16, 16, 3), 60.0), CENTERS[chosen].numpy())
    assert difference(np.asarray(pictures["mode"]) / 255, expected) < 1
    assert captions["confidence"] == "mean 1.00 (dark 0, bright 1)"
    unsure = row(logits=torch.zeros(1, COUNT, 4, 4))
    assert unsure.captions["confidence"] == "mean 0.00 (dark 0, bright 1)"
    dark, bright = (np.asarray(one.pictures["confidence"]).mean() for one in (unsure, row(logits=logits)))
    assert dark < bright
