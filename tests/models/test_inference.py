"""Inference on pictures of any size, type and depth, against PyTorch's resizing and scikit-image's Lab."""

import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.color import rgb2lab
from torch import Tensor

from colorlab.color import lab_to_rgb, rgb_to_lab
from colorlab.data.splits import SAMPLES
from colorlab.errors import UserError
from colorlab.images.decoding import read_photograph
from colorlab.models import ECCV16, CUNet, DDColor, inference
from colorlab.models.inference import apply_color, colorize, input_of, network_input, network_size

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model() -> CUNet:
    """Return a network with random weights that predicts strong colors."""
    torch.manual_seed(0)
    drawn = CUNet(width=2).eval()
    drawn.head.weight.data.mul_(100)
    return drawn


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    return read_photograph(SAMPLES / "fishes_fish1.jpg")  # [3, 213, 320] uint8


def lightness(rgb: np.ndarray) -> np.ndarray:
    """Return scikit-image's L of [H, W, 3] uint8, uint16 or 0..1."""
    return rgb2lab(rgb / (np.iinfo(rgb.dtype).max if rgb.dtype.kind == "u" else 1))[..., 0]


KINDS = {
    "pil": lambda rgb: Image.fromarray(rgb),
    "pil_gray": lambda rgb: Image.fromarray(rgb).convert("L"),
    "pil_palette": lambda rgb: Image.fromarray(rgb).convert("P"),
    "array": lambda rgb: rgb,
    "array_turned": lambda rgb: rgb[::-1, ::-1],
    "array_gray": lambda rgb: rgb[..., 1],
    "array_16": lambda rgb: rgb.astype(np.uint16) * 257,
    "array_16_gray": lambda rgb: rgb[..., :1].astype(np.uint16) * 250 + 7,
    "array_float64": lambda rgb: rgb / 255,
    "tensor": lambda rgb: torch.from_numpy(rgb).movedim(-1, 0),
    "tensor_gray": lambda rgb: torch.from_numpy(rgb[..., 0])[None],
    "tensor_batch_float": lambda rgb: torch.from_numpy(rgb).movedim(-1, 0).repeat(2, 1, 1, 1) / 255,
}


def as_array(image: object) -> np.ndarray:
    """Return a picture of any type as [H, W, 3]."""
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    array = image.reshape(-1, *image.shape[-2:])[:3].movedim(0, -1).numpy() if isinstance(image, Tensor) else image
    return (
        np.repeat(array.reshape(*array.shape[:2], -1), 3, axis=2)[..., :3]
        if array.ndim == 2 or (array.shape[2] == 1)
        else array
    )


@pytest.mark.parametrize("guided", [False, True], ids=["bilinear", "guided"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_result_has_the_type_of_the_picture_and_its_l(
    model: CUNet, photograph: Tensor, kind: str, guided: bool
) -> None:
    image = KINDS[kind](photograph.movedim(0, -1).numpy())
    colored = model.colorize(image, size=32, guided=guided)
    assert type(colored) is (Image.Image if isinstance(image, Image.Image) else type(image))
    assert getattr(colored, "dtype", None) == getattr(image, "dtype", None)
    before, after = as_array(image), as_array(colored)
    assert after.shape == before.shape
    assert np.ptp(after.astype(float), axis=2).max() > np.ptp(before.astype(float), axis=2).max() * 0.1
    # An 8-bit step is up to 0.4 of L; colors outside sRGB must not change L by more.
    assert np.abs(lightness(after) - lightness(before)).max() < (0.5 if after.dtype == np.uint8 else 0.01)


def test_resizing_in_strips_equals_resizing_the_whole_picture() -> None:
    pictures = torch.rand(2, 3, 157, 203)
    for size in (32, 90, 300):
        whole = F.interpolate(pictures, network_size(157, 203, size), mode="bilinear", antialias=True)
        # The weights of PyTorch itself are off by up to 2e-5, which is 0.02 of L in the darkest places.
        assert (network_input(pictures, size, CPU) - rgb_to_lab(whole.clamp(0, 1))[0]).abs().max() < 5e-3


def weighed_by_all_rows(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Shrink pictures by a weight for each pair of a row of the result and a row of the picture, in float64."""
    resized = pixels.double() / 255
    for _ in range(2):  # rows, then columns
        (height, width), full = size, resized.shape[-2]
        scale = full / height
        distance = (torch.arange(full) + 0.5) - (torch.arange(height)[:, None] + 0.5) * scale
        weight = (1 - distance.double().abs() / max(scale, 1)).clamp(min=0)
        resized, size = ((weight / weight.sum(dim=1, keepdim=True)) @ resized).mT, (width, height)
    return resized


@pytest.mark.parametrize("shape", [(1, 9000), (9000, 1), (20, 700), (700, 20), (16, 16), (500, 331)])
def test_only_rows_in_reach_are_weighed_with_the_same_result(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = torch.randint(0, 256, (1, 3, *shape), dtype=torch.uint8)
    whole = weighed_by_all_rows(pixels, network_size(*shape, 64))
    ab = torch.rand(1, 2, *whole.shape[-2:]) * 60 - 30
    enlarged = F.interpolate(ab, shape, mode="bilinear")
    colored = lab_to_rgb(rgb_to_lab(pixels)[0], enlarged, keep_L=True)
    for strip in (300, 2**18):  # with 300, wide pictures are processed by columns
        monkeypatch.setattr(inference, "STRIP", strip)
        small = network_input(pixels, 64, CPU)
        assert (small - rgb_to_lab(whole.float().clamp(0, 1))[0]).abs().max() < 1e-3
        assert (apply_color(pixels, small, ab) / 255 - colored).abs().max() < 0.51 / 255


def test_a_thin_picture_takes_no_longer_than_a_square_one_of_as_many_pixels() -> None:
    """Weighing all rows of the picture for each row of the result, it took 200 times as long."""
    seconds = []
    for shape in ((500, 600), (300_000, 1), (1, 300_000)):
        pixels = torch.zeros(1, 1, *shape, dtype=torch.uint8)
        began = time.process_time()
        apply_color(pixels, small := network_input(pixels, 256, CPU), torch.zeros(1, 2, *small.shape[-2:]))
        seconds.append(time.process_time() - began)
    assert max(seconds[1:]) < 10 * seconds[0] + 0.5


def test_a_check_ends_the_work_at_the_next_strip(model: CUNet) -> None:
    strips = [1, 2, 3, 4, 5]
    with pytest.raises(IndexError):
        model.colorize(torch.zeros(1, 3000, 1000), check=strips.pop)
    assert not strips


def test_the_height_of_a_strip_does_not_change_the_result(photograph: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = photograph[None]
    small, ab = network_input(pixels, 32, CPU), (torch.rand(1, 2, 32, 48) - 0.5) * 60
    enlarged = F.interpolate(ab, pixels.shape[-2:], mode="bilinear")
    whole = lab_to_rgb(rgb_to_lab(pixels)[0], enlarged, keep_L=True)
    for strip in (1, 320 * 7, 2**20):
        monkeypatch.setattr(inference, "STRIP", strip)
        assert (apply_color(pixels, small, ab) / 255 - whole).abs().max() < 0.51 / 255
    guided = []
    for strip in (1, 320 * 7, 2**20):
        monkeypatch.setattr(inference, "STRIP", strip)
        guided.append(apply_color(pixels.float() / 255, small, ab, guided=True))
    assert all((each - guided[0]).abs().max() < 1e-5 for each in guided)


def test_guided_upsampling_stops_at_edges() -> None:
    """On a red square whose ab is known at an eighth of the size."""
    inside = torch.zeros(1, 1, 256, 256)
    inside[..., 84:180, 84:180] = 1  # between pixels of the network's input
    true_ab = inside * torch.tensor([60.0, 40.0])[:, None, None]
    picture = lab_to_rgb(30 + 40 * inside, true_ab)
    small, ab = network_input(picture, 32, CPU), F.interpolate(true_ab, (32, 32), mode="bilinear", antialias=True)
    wrong = {
        guided: (rgb_to_lab(apply_color(picture, small, ab, guided))[1] - true_ab).square().mean().item()
        for guided in (False, True)
    }
    assert wrong[True] < 0.5 * wrong[False]


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [((1000, 1500), 256, (256, 384)), ((1500, 1000), 64, (96, 64)), ((100, 4000), 256, (26, 1024)),
     ((4000, 2), 64, (256, 16)), ((1, 1), 16, (16, 16))],
)  # fmt: skip
def test_the_network_input_keeps_the_aspect_within_bounds(
    model: CUNet, shape: tuple[int, int], size: int, expected: tuple[int, int]
) -> None:
    assert network_size(*shape, size) == expected
    assert model.colorize(np.zeros(shape, np.uint8), size=size).shape == (*shape, 3)


def test_a_model_colors_at_its_own_size_and_shape_unless_another_size_is_asked_for(model: CUNet) -> None:
    ddcolor = DDColor(width=32, queries=4, layers=3, encoder_width=8)
    pixels = torch.randint(0, 256, (1, 3, 300, 600), dtype=torch.uint8)
    assert input_of(model, pixels).shape == (1, 1, 256, 512)
    assert input_of(ddcolor, pixels).shape == (1, 1, 512, 512)
    assert input_of(ddcolor, pixels, 64).shape == (1, 1, 64, 64)
    with torch.no_grad():
        ab = ddcolor.eval()(input_of(ddcolor, pixels))
    smooth = apply_color(pixels, input_of(ddcolor, pixels), ab)
    assert torch.equal(ddcolor.colorize(pixels), smooth)
    assert torch.equal(ddcolor.colorize(pixels, size=512), smooth)


def test_saturation_and_temperature_change_the_colors(photograph: Tensor) -> None:
    torch.manual_seed(0)
    model = ECCV16(width=2, head="bins").eval()
    gray = model.colorize(photograph, size=32, saturation=0)
    assert (gray.max(dim=0).values - gray.min(dim=0).values.int()).max() <= 1
    ways = [model.colorize(photograph, size=32, temperature=temperature) for temperature in (None, 0.38, 1.0)]
    assert torch.equal(ways[0], ways[1])
    assert not torch.equal(ways[0], ways[2])
    assert model.temperature == 0.38


def test_coloring_leaves_a_model_in_training_unchanged(photograph: Tensor) -> None:
    model = CUNet(width=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    colored = model.colorize(photograph, size=32)
    assert model.training
    assert not colored.requires_grad
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_alpha_and_metadata_of_a_pil_image_are_kept(model: CUNet, photograph: Tensor) -> None:
    image = Image.fromarray(photograph.movedim(0, -1).numpy())
    alpha = Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha)
    image.info["dpi"] = (300, 300)
    colored = model.colorize(image, size=32)
    assert colored.mode == "RGBA"
    assert colored.getchannel("A").tobytes() == alpha.tobytes()
    assert colored.info["dpi"] == (300, 300)


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        ("old.jpg", {}, "A str is not a picture"),
        (np.zeros((4, 4, 4), np.uint8), {}, r"shape \(4, 4, 4\) is not a picture"),
        (np.zeros((4, 4), np.int64), {}, "int64 has no known range"),
        (torch.zeros(4, 4), {}, r"shape \(4, 4\) is not a picture"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), {}, "int64 has no known range"),
        (np.zeros((0, 4), np.uint8), {}, "4×0 pixels has nothing to color"),
        (np.full((4, 4), 7.0), {}, "must lie in 0..1"),
        (np.full((4, 4), np.nan), {}, "must lie in 0..1"),
        (Image.new("F", (4, 4)), {}, "floating-point pixels have no known white"),
        (Image.new("I", (4, 4), 70000), {}, "gray beyond 16 bits has no known white"),
        (np.zeros((4, 4), np.uint8), {"size": 8}, "size=8 must be at least 16"),
        (np.zeros((4, 4), np.uint8), {"saturation": -1}, "saturation=-1 must be 0 or more"),
        (np.zeros((4, 4), np.uint8), {"temperature": 0.5}, "this cunet has none"),
    ],
)
def test_unusable_pictures_and_options_are_refused(model: CUNet, image: object, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        colorize(model, image, **options)
