"""The datamodule inside a real Trainer."""

import logging
import shutil
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from PIL import Image
from torch import nn

from colorlab.color import rgb_to_lab
from colorlab.data import ColorDataModule
from colorlab.data.augmentation import RandomCropFlip
from colorlab.data.batch import Batch
from colorlab.data.splits import SAMPLES
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.schedules import Constant


class Watcher(CUNet):
    """A model that records its training batches."""

    def __init__(self) -> None:
        super().__init__(width=2)
        self.seen: dict[int, list[Batch]] = {}
        self.prepare_training(nn.MSELoss(), lambda parameters: torch.optim.SGD(parameters, 1e-9), Constant())

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        self.seen.setdefault(self.current_epoch, []).append(batch)
        return super().training_step(batch, batch_idx)

    def order(self, epoch: int) -> list[int]:
        return [index for batch in self.seen[epoch] for index in batch.index.tolist()]


def watch(data: ColorDataModule, folder: Path, epochs: int = 1, **trainer) -> Watcher:
    model = Watcher()
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    settings["limit_val_batches"] = 1.0 if data.names["val"] else 0
    Trainer(max_epochs=epochs, default_root_dir=folder, enable_model_summary=False, **settings, **trainer).fit(
        model, datamodule=data
    )
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty built-in photographs."""
    root = tmp_path / "photos"
    root.mkdir()
    for path in sorted(SAMPLES.glob("*.jpg"))[:30]:
        shutil.copy(path, root)
    return root


def module(root: Path | None, **arguments) -> ColorDataModule:
    defaults = {"size": 32, "batch_size": 8, "workers": 0}
    return ColorDataModule(root=root and str(root), **(defaults | arguments))


def same(one: Batch, other: Batch) -> bool:
    """Compare two batches without hints, bit for bit."""
    return all(map(torch.equal, one[:3], other[:3])) and one.hints is other.hints is None


def test_the_built_in_photographs_have_24_for_validation_and_24_for_the_test() -> None:
    data = module(None, val_fraction=0.12, test_fraction=0.12, split_seed=1329)
    assert {split: len(names) for split, names in data.names.items()} == {"train": 153, "val": 24, "test": 24}


def test_each_epoch_shows_every_photograph_once_in_an_order_of_its_own(folder: Path, tmp_path: Path) -> None:
    data = module(folder, val_fraction=0.0, test_fraction=0.0)
    model = watch(data, tmp_path, epochs=2)
    assert sorted(model.order(0)) == sorted(model.order(1)) == list(range(30))
    assert model.order(0) != model.order(1)
    again = watch(module(folder, val_fraction=0.0, test_fraction=0.0), tmp_path, epochs=2)
    assert again.seen.keys() == model.seen.keys()
    assert again.order(1) == model.order(1)
    assert watch(module(folder, seed=5, val_fraction=0.0, test_fraction=0.0), tmp_path).order(0) != model.order(0)


def test_batches_do_not_depend_on_the_number_of_workers(folder: Path, tmp_path: Path) -> None:
    batches = [watch(module(folder, workers=workers, augment=RandomCropFlip()), tmp_path).seen[0] for workers in (0, 2)]
    for alone, helped in zip(*batches, strict=True):
        assert same(alone, helped)


def test_batches_do_not_depend_on_the_cache(folder: Path, tmp_path: Path) -> None:
    (folder / "torn.jpg").write_bytes(b"torn")
    Image.open(folder / "erase_crab.jpg").convert("L").save(folder / "gray.png")
    seen = {}
    for cache in ("none", "disk"):
        data = module(folder, cache=cache, cache_dir=str(tmp_path / "cache"), workers=2, augment=RandomCropFlip())
        seen[cache] = watch(data, tmp_path, epochs=2).seen, data.skipped.reasons
    assert seen["disk"][1] == seen["none"][1]
    for epoch in (0, 1):
        for one, other in zip(seen["disk"][0][epoch], seen["none"][0][epoch], strict=True):
            assert same(one, other)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
def test_lab_is_exact_at_every_precision_of_the_network(folder: Path, tmp_path: Path, precision: str) -> None:
    data = module(folder)
    model = watch(data, tmp_path, precision=precision)
    for batch in model.seen[0]:
        rgb = torch.stack([data.photographs["train"].read(index) for index in batch.index.tolist()])
        lightness, ab = rgb_to_lab(rgb)
        assert batch.ab.dtype == torch.float32
        assert torch.allclose(batch.L, lightness, atol=1e-4)
        assert torch.allclose(batch.ab, ab, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="batches are pinned only with a GPU")
@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_in_pinned_memory(folder: Path, workers: int) -> None:
    assert next(iter(module(folder, workers=workers).reader("train"))).rgb.is_pinned()


def test_an_unreadable_photograph_is_reported_once_and_counted(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "torn.jpg").write_bytes(b"torn")
    (folder / "gray.png").parent.mkdir(exist_ok=True)
    Image.open(folder / "erase_crab.jpg").convert("L").save(folder / "gray.png")
    data = module(folder, val_fraction=0.0, test_fraction=0.0)
    with caplog.at_level(logging.WARNING, logger="colorlab"):
        model = watch(data, tmp_path, epochs=3)
    named = [record.message for record in caplog.records if "torn.jpg" in record.message]
    assert len(named) == 1
    assert "cannot identify image file" in named[0]
    assert data.summary().endswith("left out: 1 gray (no color to learn from), 1 unreadable")
    shown = {data.photographs["train"].name(index) for index in model.order(0)}
    assert not shown & {"torn.jpg", "gray.png"}
    assert all(len(batch.L) == 8 for batch in model.seen[0])


def test_training_stops_if_more_than_a_tenth_is_unreadable(folder: Path, tmp_path: Path) -> None:
    for number in range(4):
        (folder / f"torn{number}.jpg").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"4 of the 34 photographs .* cannot be read, more than a tenth"):
        watch(module(folder, val_fraction=0.0, test_fraction=0.0, batch_size=34), tmp_path)


def test_a_folder_of_gray_pictures_is_an_error(tmp_path: Path) -> None:
    for path in sorted(SAMPLES.glob("*.jpg"))[:6]:
        Image.open(path).convert("L").save(tmp_path / path.name)
    with pytest.raises(UserError, match="no photograph with color"):
        watch(module(tmp_path, val_fraction=0.0, test_fraction=0.0), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"size": 0}, r"data\.size=0 must be at least 1"),
        ({"batch_size": 0}, r"data\.batch_size=0 must be at least 1"),
        ({"val_fraction": 0.6, "test_fraction": 0.6}, "together below 1"),
        (
            {"size": None, "batch_size": 1, "cache": "disk"},
            r"cache=disk keeps pictures of one size",
        ),
        ({"workers": -1}, r"data\.workers=-1 must be at least 0"),
    ],
)
def test_arguments_out_of_range_are_errors(folder: Path, arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        module(folder, **arguments)


def test_fingerprints_identify_the_photographs_of_each_split(folder: Path, tmp_path: Path) -> None:
    found = module(folder).fingerprints()
    assert found == module(shutil.copytree(folder, tmp_path / "copy")).fingerprints() | {"root": str(folder)}
    assert {split: found[split]["photographs"] for split in ("train", "val", "test")} == {
        split: len(names) for split, names in module(folder).names.items()
    }
    shutil.copy(folder / module(folder).names["train"][0], folder / module(folder).names["val"][0])
    changed = module(folder).fingerprints()
    assert changed["val"] != found["val"]
    assert changed["train"] == found["train"]
