"""Random crops and flips."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Trainer
from scipy.stats import kstest
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize, resized_crop

from colorlab.color import to_float
from colorlab.config import check
from colorlab.data import ColorDataModule
from colorlab.data.augmentation import AugmentationModule, Augmentations, RandomCropFlip, uniforms
from colorlab.data.batch import Batch
from colorlab.data.photographs import Photographs
from colorlab.data.splits import SAMPLES, find_photographs
from colorlab.errors import UserError
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder
from colorlab.schedules import Constant
from support.commands import SMALL, train_exit_code


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    photographs = Photographs(SAMPLES, find_photographs(SAMPLES)[:6], size=64, fill=False)
    return torch.cat([photographs[index].rgb for index in range(6)]).float() / 255


INDEX = torch.arange(6)


def test_augmentation_depends_on_seed_epoch_and_index_alone(pictures: Tensor) -> None:
    augment = RandomCropFlip()
    together = augment(pictures, INDEX, 1, 2)
    shuffled = augment(pictures.flip(0), INDEX.flip(0), 1, 2)
    assert torch.equal(together, shuffled.flip(0))
    alone = augment(pictures[3:4], INDEX[3:4], 1, 2)
    assert torch.allclose(together[3:4], alone, atol=1e-6)
    for seed, epoch in ((1, 3), (2, 2)):
        assert not torch.allclose(together, augment(pictures, INDEX, seed, epoch), atol=1e-2)


def test_the_global_random_state_is_neither_used_nor_changed(pictures: Tensor) -> None:
    before = torch.get_rng_state()
    first = RandomCropFlip()(pictures, INDEX, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(first, RandomCropFlip()(pictures, INDEX, 0, 0))


def test_the_largest_crop_is_the_picture_and_a_flip_mirrors_it(pictures: Tensor) -> None:
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    assert torch.allclose(RandomCropFlip(**whole, flip=0)(pictures, INDEX, 0, 0), pictures, atol=1e-4)
    assert torch.allclose(RandomCropFlip(**whole, flip=1)(pictures, INDEX, 0, 0), pictures.flip(-1), atol=1e-4)


def test_crops_are_inside_the_picture_and_have_areas_in_the_range() -> None:
    """The picture is a ramp of coordinates, so the corners of the result show where the crop was."""
    down, along = torch.meshgrid(torch.arange(100.0), torch.arange(100.0), indexing="ij")
    ramp = torch.stack([down, along, down])[None].expand(64, -1, -1, -1)
    crops = RandomCropFlip(scale=(0.3, 0.6), ratio=(0.75, 1.25))(ramp, torch.arange(64), 0, 0)
    top, bottom = crops[:, 0, 0, 0], crops[:, 0, -1, 0]
    left, right = crops[:, 1, 0].amin(1), crops[:, 1, 0].amax(1)
    assert top.min() >= -1e-2
    assert right.max() <= 99 + 1e-2
    area = (bottom - top + 1) * (right - left + 1) / 100**2
    assert area.min() > 0.27
    assert area.max() < 0.63
    assert area.max() - area.min() > 0.2
    mirrored = (crops[:, 1, 0, 0] > crops[:, 1, 0, -1]).float().mean()
    assert 0.3 < mirrored < 0.7


def test_an_enlarged_crop_equals_torchvisions_resized_crop(pictures: Tensor) -> None:
    augment = RandomCropFlip(scale=(0.25, 0.25), ratio=(1.0, 1.0), flip=0)
    down, along = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    places = augment(torch.stack([down, along, down])[None].expand(6, -1, -1, -1), INDEX, 0, 0)
    for picture, place, crop in zip(pictures, places, augment(pictures, INDEX, 0, 0), strict=True):
        top, left = (round(place[axis, 32, 32].item() - 15.75) for axis in (0, 1))
        expected = resized_crop(picture, top, left, 32, 32, [64, 64], antialias=True)
        assert torch.allclose(crop[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-4)


def test_a_shrunk_crop_is_antialiased_like_a_validation_picture(pictures: Tensor) -> None:
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0}
    expected = resize(pictures, [24, 24], antialias=True)
    small = RandomCropFlip(24, **whole)(pictures, INDEX, 0, 0)
    aliased = resize(pictures, [24, 24], antialias=False)
    assert small.shape == expected.shape
    assert (small - expected).square().mean() < 0.25 * (aliased - expected).square().mean()


def test_uint8_and_float_are_augmented_alike(pictures: Tensor) -> None:
    stored = (pictures * 255).round().byte()
    assert torch.equal(RandomCropFlip()(stored, INDEX, 0, 0), RandomCropFlip()(stored / 255, INDEX, 0, 0))


def test_draws_are_uniform_and_uncorrelated() -> None:
    draws = uniforms(5, 7, 3, torch.arange(20000))
    others = [uniforms(1, *key, torch.arange(20000)) for key in ((8, 3), (7, 4))]
    for column in draws.T:
        assert kstest(column.numpy(), "uniform").pvalue > 1e-3
    neighbors = torch.cat([draws[1:], draws[:-1], *(other[1:] for other in others)], dim=1)
    correlation = torch.corrcoef(neighbors.T).fill_diagonal_(0)
    assert correlation.abs().max() < 5 / 20000**0.5


# -- modules of other libraries --------------------------------------------------------------------

JIGGLE = {"_target_": "kornia.augmentation.ColorJiggle", "brightness": [0.5, 1.5], "hue": 0.2}


class Noise(nn.Module):
    """Noise from the three generators that a module may draw from."""

    def forward(self, rgb: Tensor) -> Tensor:
        return rgb + 0.1 * torch.rand_like(rgb) + 0.1 * float(np.random.rand()) + 0.1 * random.random()


class Shift(nn.Module):
    """A module with the signature of our augmentation."""

    def forward(self, rgb: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
        return to_float(rgb) * 0 + ((index[:, None, None, None] + seed + epoch) % 10) / 10


class Halved(RandomCropFlip):
    def __call__(self, rgb: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
        return super().__call__(rgb, index, seed, epoch) / 2


class Watcher(CUNet):
    """A model that keeps the batch of each step."""

    def __init__(self) -> None:
        super().__init__(width=2)
        self.seen: dict[int, Batch] = {}
        self.prepare_training(nn.MSELoss(), torch.optim.Adam, Constant())

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.seen[self.trainer.global_step + 1] = batch
        return super().training_step(batch, batch_idx)

    def on_train_batch_end(self, *_: object) -> None:
        self.trainer.save_checkpoint(Path(self.trainer.default_root_dir) / f"{self.trainer.global_step}.ckpt")

    def fit(self, folder: Path, epochs: int, augment: object, resume: Path | None = None) -> list[int]:
        """Train for two steps an epoch and return the numbers of the steps."""
        trainer = Trainer(
            max_epochs=epochs, default_root_dir=folder, logger=False, accelerator="cpu", enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, limit_train_batches=2, limit_val_batches=0,
        )  # fmt: skip
        data = ColorDataModule(size=32, batch_size=4, workers=0, augment=augment)
        trainer.fit(self, datamodule=data, ckpt_path=resume, weights_only=True)
        return list(self.seen)


@pytest.mark.parametrize("module", [check(JIGGLE, "data.augment").build(), Noise()], ids=["kornia", "noise"])
def test_a_module_draws_the_same_for_a_seed_an_epoch_and_a_batch(pictures: Tensor, module: nn.Module) -> None:
    augment = AugmentationModule(module, 64, 64)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    one = augment(pictures, [3, 1], 0, 0)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    torch.rand(7), np.random.rand(), random.random()
    assert torch.equal(augment(pictures, [3, 1], 0, 0), one)
    for other in (([3, 2], 0, 0), ([3, 1], 1, 0), ([3, 1], 0, 1)):
        assert not torch.allclose(augment(pictures, *other), one, atol=1e-3)
    assert one.dtype == torch.float32
    assert 0 <= one.min() < one.max() <= 1


@pytest.mark.parametrize(
    "augment",
    [Noise(), Shift(), Halved(), check(JIGGLE, "data.augment").build(), [RandomCropFlip(), Noise()]],
)
def test_a_resumed_run_repeats_the_draws_of_every_kind_of_augmentation(tmp_path: Path, augment: object) -> None:
    whole, rest = Watcher(), Watcher()
    assert whole.fit(tmp_path, 2, augment) == [1, 2, 3, 4]
    assert rest.fit(tmp_path, 2, augment, resume=tmp_path / "3.ckpt") == [4]  # within the second epoch
    assert torch.equal(whole.seen[4].L, rest.seen[4].L)
    assert torch.equal(whole.seen[4].ab, rest.seen[4].ab)
    plain = Watcher()
    plain.fit(tmp_path, 1, None)
    assert not torch.allclose(plain.seen[1].L, whole.seen[1].L, atol=1)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.Linear(7, 3), r"data\.augment: Linear cannot change pictures of 32×32 \(.*shapes"),
        (nn.Flatten(), r"data\.augment: Flatten must return rgb \[2, 3, 32, 32\], and returned \[2, 3072\]\."),
    ],
)
def test_a_module_that_makes_no_pictures_is_refused_at_the_start(module: nn.Module, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ColorDataModule(size=32, augment=module)


# -- several ---------------------------------------------------------------------------------------


def test_several_augmentations_follow_each_other_with_draws_of_their_own(pictures: Tensor) -> None:
    given = pictures, INDEX, INDEX.tolist(), 3, 1
    assert torch.equal(Augmentations([], 64)(*given), pictures)
    (one, two) = (Augmentations([Noise()] * count, 64)(*given) for count in (1, 2))
    assert torch.equal(one, AugmentationModule(Noise(), 64, 64)(pictures, INDEX.tolist(), 3, 1))
    assert not torch.allclose(two, (2 * one - pictures).clamp(0, 1), atol=1e-3), "the second repeats the first"
    cropped = RandomCropFlip(24)(pictures, INDEX, 3, 1)
    assert torch.equal(Augmentations([RandomCropFlip(24)], 64)(*given), cropped)
    both = Augmentations([RandomCropFlip(24), Halved()], 64)(*given)
    assert not torch.allclose(both, Halved()(cropped, INDEX, 3, 1))
    assert both.shape == cropped.shape


def test_each_module_is_tried_with_what_those_before_it_make() -> None:
    crop = {"_target_": "kornia.augmentation.RandomCrop", "size": [16, 20]}
    steps = [RandomCropFlip(24), check(crop, "data.augment").build(), nn.Linear(20, 20)]
    assert [list(step.shape) for step in Augmentations(steps, 64).steps[1:]] == [[16, 20], [16, 20]]
    with pytest.raises(UserError, match=r"data\.augment: Linear cannot change pictures of 16×20"):
        Augmentations([*steps[:2], nn.Linear(24, 24)], 64)


def test_a_list_is_configured_like_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours and kornia's modules, trained with and resumed."""
    monkeypatch.chdir(tmp_path)
    blur = "{_target_: kornia.augmentation.RandomGaussianBlur, kernel_size: [3, 3], sigma: [0.1, 1.0]}"
    words = f"data.augment=[{{_target_: colorlab.data.RandomCropFlip, size: 16}}, {blur}]"
    assert train_exit_code(monkeypatch, *SMALL, words, "debug=true", "hydra.run.dir=run") == 0
    assert "kornia.augmentation.RandomGaussianBlur" in RunFolder(tmp_path / "run").config.read_text()
    assert train_exit_code(monkeypatch, "resume=run", "debug=false", "trainer.limit_train_batches=1") == 0
