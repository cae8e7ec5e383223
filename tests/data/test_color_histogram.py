"""Colors counted in photographs, compared with scikit-image, and the prior computed from them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.color import rgb2lab

from colorlab.data import ColorDataModule
from colorlab.data.color_histogram import cached_prior, count_colors, draw_prior, read_prior, write_prior
from colorlab.data.splits import SAMPLES, find_photographs, fingerprint
from colorlab.errors import UserError


@pytest.fixture
def data(tmp_path: Path) -> ColorDataModule:
    """Six photographs of 40², one of them gray, all for training."""
    root = tmp_path / "photographs"
    root.mkdir()
    for name in find_photographs(SAMPLES)[::35]:
        Image.open(SAMPLES / name).convert("RGB").resize((40, 40)).save(root / f"{Path(name).stem}.png")
    Image.new("L", (40, 40), 77).save(root / "gray.png")
    return ColorDataModule(str(root), size=40, workers=0, val_fraction=0, test_fraction=0)


def test_the_histogram_equals_scikit_images(data: ColorDataModule) -> None:
    expected = np.zeros((256, 256), dtype=int)
    for name in data.names["train"]:
        if name != "gray.png":
            ab = np.rint(rgb2lab(np.asarray(Image.open(data.root / name)))[..., 1:]).astype(int) + 128
            np.add.at(expected, (ab[..., 0], ab[..., 1]), 1)
    counted = count_colors(data).numpy()
    assert counted.sum() == expected.sum()
    assert np.abs(counted - expected).sum() <= 0.002 * expected.sum()  # float32 rounds some x.5 the other way


def test_the_prior_is_cached_until_the_photographs_change(
    data: ColorDataModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = cached_prior(data)
    written = first.stat().st_mtime_ns
    assert cached_prior(data) == first
    assert first.stat().st_mtime_ns == written
    before = fingerprint(data.root, data.names["train"], 40)
    shutil.copy(data.root / data.names["train"][0], data.root / data.names["train"][1])
    assert fingerprint(data.root, data.names["train"], 40) != before
    assert cached_prior(data) != first


def test_a_damaged_cached_prior_is_counted_again(
    data: ColorDataModule, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = cached_prior(data)
    content, prior = path.read_bytes(), read_prior(path)
    middle = len(content) // 2
    for damaged in (content[:-7], b"", content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]):
        path.write_bytes(damaged)
        caplog.clear()
        assert torch.equal(read_prior(cached_prior(data)), prior)
        assert [record.getMessage() for record in caplog.records] == [
            f"{path} is damaged: the colors are counted again."
        ]


def test_a_prior_is_drawn(data: ColorDataModule, tmp_path: Path) -> None:
    write_prior(tmp_path / "prior.npz", count_colors(data))
    assert read_prior(tmp_path / "prior.npz").sum().item() == pytest.approx(1)
    draw_prior(tmp_path / "prior.npz", tmp_path / "prior.png")
    colors = Image.open(tmp_path / "prior.png").convert("RGB").getcolors(1 << 20)
    assert len(colors) > 50


def test_a_file_without_a_prior_is_an_error(tmp_path: Path) -> None:
    text, other = tmp_path / "text.npz", tmp_path / "other.npz"
    text.write_text("hello")
    np.savez(other, prior=np.ones(3))
    for path, sentence in (
        (text, "is not a prior"),
        (other, "does not hold a prior"),
        (tmp_path / "no", "no prior at"),
    ):
        with pytest.raises(UserError, match=sentence):
            read_prior(path)
