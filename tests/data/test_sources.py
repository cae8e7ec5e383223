"""Lists, tables and several roots through the datamodule: splits, order, cache and resume."""

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Trainer
from torch import Tensor, nn

from colorlab.data import ColorDataModule, RandomCropFlip
from colorlab.data.batch import Batch
from colorlab.data.color_histogram import count_colors
from colorlab.data.sources import order_of
from colorlab.data.splits import SAMPLES, content_fingerprint, find_photographs
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.schedules import Constant
from support.tables import write_table

NAMES = find_photographs(SAMPLES)[:12]
TRAIN, VAL, TEST = NAMES[:8], NAMES[8:10], NAMES[10:]


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, str]:
    """The same photographs in the same splits, as a folder, two lists and a table."""
    folder = tmp_path / "folder"
    for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        (folder / split).mkdir(parents=True)
        for name in names:
            shutil.copy(SAMPLES / name, folder / split)
        write_table(tmp_path / "tables" / f"{split}-00000-of-00001.parquet", names, group=3)
    found = find_photographs(folder)
    (folder / "list.txt").write_text("\n".join(found))
    splits = {"train": "training", "val": "Validation", "test": "test"}
    rows = [f"{folder / name},{splits[name.split('/')[0]]}" for name in found]
    (tmp_path / "list.csv").write_text("\n".join(["path,split", *rows]))
    places = {"folder": folder, "text": folder / "list.txt", "csv": tmp_path / "list.csv", "table": tmp_path / "tables"}
    return {kind: str(place) for kind, place in places.items()}


def module(root: str | None = None, **arguments: object) -> ColorDataModule:
    settings = {"size": 24, "batch_size": 3, "workers": 0, "augment": RandomCropFlip()}
    return ColorDataModule(root, **(settings | arguments))


class Watcher(CUNet):
    """A model that keeps its batches, and saves a checkpoint after each step."""

    def __init__(self) -> None:
        super().__init__(width=2)
        self.seen: dict[int, Batch] = {}
        self.judged: list[Batch] = []
        self.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen[self.trainer.global_step + 1] = batch
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.judged.append(batch)

    def on_train_batch_end(self, *_: object) -> None:
        self.trainer.save_checkpoint(Path(self.trainer.default_root_dir) / f"{self.trainer.global_step}.ckpt")

    def fit(self, folder: Path, data: ColorDataModule, epochs: int = 2, resume: Path | None = None) -> "Watcher":
        trainer = Trainer(
            max_epochs=epochs, default_root_dir=folder, logger=False, accelerator="cpu", enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0,
        )  # fmt: skip
        trainer.fit(self, datamodule=data, ckpt_path=resume, weights_only=True)
        return self


def same(one: Batch, other: Batch) -> bool:
    return all(map(torch.equal, one[:3], other[:3]))


def test_every_source_has_the_same_photographs_in_the_same_splits(sources: dict[str, str]) -> None:
    kinds = {kind: module(root) for kind, root in sources.items()}
    for split in ("train", "val", "test"):
        marks = {kind: content_fingerprint(data.root, data.files(split)) for kind, data in kinds.items()}
        assert len(set(marks.values())) == 1, (split, marks)
    assert {len(data.files("all")) for data in kinds.values()} == {12}
    assert len({count_colors(data).sum().item() for data in kinds.values()}) == 1
    assert kinds["csv"].fingerprints()["root"] == sources["csv"]


@pytest.mark.parametrize("kind", ["text", "csv"])
def test_a_list_trains_as_its_folder_does(sources: dict[str, str], kind: str, tmp_path: Path) -> None:
    folder, paths = (Watcher().fit(tmp_path, module(sources[name])) for name in ("folder", kind))
    assert all(same(paths.seen[step], batch) for step, batch in folder.seen.items())
    assert all(map(same, folder.judged, paths.judged))


@pytest.mark.parametrize("kind", ["csv", "table", "roots"])
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(sources: dict[str, str], kind: str, tmp_path: Path) -> None:
    roots = [{"root": sources["table"], "weight": 0.5}, sources["folder"], {"root": sources["text"], "weight": 1.5}]
    where = {"roots": roots} if kind == "roots" else {"root": sources[kind]}
    whole = Watcher().fit(tmp_path, module(**where))
    last = len(whole.seen)
    for done, workers, cache in ((last // 2 + 1, 0, "none"), (last - 1, 1, "none"), (last - 1, 0, "disk")):
        data = module(**where, workers=workers, cache=cache, cache_dir=str(tmp_path / "cache"))
        rest = Watcher().fit(tmp_path, data, resume=tmp_path / f"{done}.ckpt")
        assert list(rest.seen) == list(range(done + 1, last + 1))
        assert all(same(whole.seen[step], batch) for step, batch in rest.seen.items())


def test_each_epoch_of_a_table_shows_every_row_once(sources: dict[str, str], tmp_path: Path) -> None:
    model = Watcher().fit(tmp_path, module(sources["table"], workers=2))
    epochs = [
        [index for step in steps for index in model.seen[step].index.tolist()] for steps in ((1, 2, 3), (4, 5, 6))
    ]
    assert [sorted(epoch) for epoch in epochs] == [list(range(8))] * 2
    assert epochs[0] != epochs[1]


def test_weights_say_how_often_photographs_are_drawn_and_validation_shows_each_once(
    sources: dict[str, str], tmp_path: Path
) -> None:
    data = module(roots=[{"root": sources["folder"], "weight": 3}, {"root": sources["table"], "weight": 0.5}])
    model = Watcher().fit(tmp_path, data, epochs=1)
    index = torch.cat([batch.index for batch in model.seen.values()]).tolist()
    counts = Counter(data.photographs["train"].name(each).split("/")[0] for each in index)
    assert counts == {"folder": 24, "tables": 4}
    assert set(Counter(index).values()) == {1, 3}
    assert max(index) < 16
    assert sum(len(batch.L) for batch in model.judged) == 4
    crops = {}
    for batch in model.seen.values():
        for place, L in zip(batch.index.tolist(), batch.L, strict=True):
            crops.setdefault(place, []).append(L)
    first, second, third = next(three for three in crops.values() if len(three) == 3)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)


def test_roots_of_one_name_are_told_apart(sources: dict[str, str], tmp_path: Path) -> None:
    twin = shutil.copytree(sources["folder"], tmp_path / "other" / "folder")
    (twin / "train" / TRAIN[0]).unlink()
    data = module(roots=[sources["folder"], str(twin)])
    assert len(set(data.files("all"))) == 23
    assert {name.split("/")[0] for name in data.files("all")} == {"folder", "folder-2"}
    alone = module(sources["folder"])
    assert content_fingerprint(data.root, data.files("val")[:2]) == content_fingerprint(alone.root, alone.files("val"))


def test_a_name_that_another_root_already_has_is_not_given_twice(sources: dict[str, str], tmp_path: Path) -> None:
    places = [Path(shutil.copytree(sources["folder"], tmp_path / name)) for name in ("a/x-3", "b/x", "c/x")]
    data = module(roots=[str(place) for place in places])
    assert {name.split("/")[0] for name in data.files("all")} == {"x-3", "x", "x-4"}


class Some(ColorDataModule):
    """Every second photograph, the last ones first."""

    def find(self, *settings: Any) -> Any:
        root, splits = super().find(*settings)
        return root, {split: names[::-2] for split, names in splits.items()}


def test_weights_hold_for_a_source_that_chooses_among_the_photographs_of_several_roots(
    sources: dict[str, str],
) -> None:
    write_table(table := Path(sources["folder"]).parent / "train-0.parquet", NAMES, group=3)
    roots = [{"root": sources["folder"], "weight": 2}, {"root": str(table), "weight": 0.5}]
    data = Some(roots=roots, size=24, workers=0, val_fraction=0.2)
    photographs = data.photographs["train"]
    order = order_of(photographs, 1, 0, seed=0)
    shown = Counter(photographs.name(entry % len(photographs)).split("/")[0] for entry in order)
    there = Counter(name.split("/")[0] for name in photographs.names)
    assert shown == {"folder": 2 * there["folder"], table.name: round(there[table.name] / 2)}


def test_pictures_come_before_tables_in_a_folder(sources: dict[str, str]) -> None:
    write_table(Path(sources["folder"]) / "metadata.parquet", NAMES[:2])
    assert len(module(sources["folder"]).files("all")) == 12


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"root": "X", "roots": ["Y"]}, r"data\.root and data\.roots exclude each other"),
        ({"roots": []}, r"data\.roots is empty"),
        ({"roots": [{"weight": 2}]}, r"an entry is PHOTOS or \{root:PHOTOS,weight:2\}"),
        ({"roots": [{"root": "X", "wieght": 2}]}, r"an entry is PHOTOS or"),
        ({"roots": [{"root": "X", "weight": 0}]}, r"has weight 0 for X: it must be above 0"),
        ({"roots": [{"root": "X", "weight": "much"}]}, r"has weight much for X"),
        ({"roots": [{"root": "X", "weight": float("nan")}]}, r"has weight nan for X"),
        ({"roots": ["nowhere"]}, r"data\.root=nowhere is missing"),
        ({"roots": [{"root": str(SAMPLES), "weight": 0.001}]}, r"data\.roots shows no photograph in an epoch"),
        ({"root": "nowhere.csv"}, r"data\.root=nowhere\.csv is missing"),
        ({"root": "nowhere.parquet"}, r"data\.root=nowhere\.parquet is missing"),
    ],
)
def test_roots_with_a_mistake_are_refused(arguments: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        order_of(module(**arguments).photographs["train"], 1, 0, seed=0)


@pytest.mark.parametrize("kind", ["csv", "table"])
def test_a_source_of_test_photographs_alone_is_for_tests_and_not_for_training(tmp_path: Path, kind: str) -> None:
    root = tmp_path / ("list.csv" if kind == "csv" else "test-0.parquet")
    if kind == "csv":
        root.write_text("\n".join(["path,split", *(f"{SAMPLES / name},test" for name in NAMES)]))
    else:
        write_table(root, NAMES, group=5)
    data = module(str(root), val_fraction=0.5)
    assert {split: len(names) for split, names in data.names.items()} == {"train": 0, "val": 0, "test": 12}
    assert sum(len(pictures.index) for pictures in data.reader("test")) == 12
    with pytest.raises(
        UserError, match=rf"{root} has no photographs for training \(photographs: 0 train, 0 val, 12 te"
    ):
        data.check_training()


def test_a_lost_folder_of_several_is_named(sources: dict[str, str]) -> None:
    data = module(roots=[sources["table"], sources["folder"]], workers=0)
    shutil.rmtree(sources["folder"])
    with pytest.raises(UserError, match=rf"data\.root={sources['folder']} has vanished"):
        list(data.reader("train"))
