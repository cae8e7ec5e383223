"""DDColor against the published networks: their files, what the released code predicts, and timm's encoder."""

import copy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from skimage.color import lab2rgb
from torch import Tensor, nn

import colorlab
from colorlab.errors import UserError
from colorlab.export.graph import Graph
from colorlab.models import DDColor, ddcolor
from support.commands import SMALL, train_exit_code
from support.published import fill, published_layout, reference_predictions

NARROW = partial(DDColor, width=32, queries=8, layers=3, encoder_width=8)
PARAMETERS = {"tiny": 55_006_640, "large": 227_869_328}


@pytest.fixture(scope="module")
def tiny() -> DDColor:
    return fill(DDColor())


@pytest.mark.parametrize("size", PARAMETERS)
def test_it_has_the_published_names_shapes_and_number_of_parameters(size: str) -> None:
    with torch.device("meta"):
        model = DDColor(size=size)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert shapes == published_layout(f"ddcolor_{size}")
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[size]


def gray_by_skimage(lightness: Tensor) -> Tensor:
    """Return the gray sRGB that the references were made with; its channels differ by up to 5e-5."""
    lab = np.pad(lightness.double().numpy(), [(0, 0), (0, 2), (0, 0), (0, 0)]).transpose(0, 2, 3, 1)
    return torch.from_numpy(lab2rgb(lab)).permute(0, 3, 1, 2).float()


def test_the_tiny_network_predicts_what_the_released_code_predicts(
    tiny: DDColor, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.no_grad():
        for lightness, ab in reference_predictions("ddcolor_tiny"):
            assert ab.std() > 0.1
            assert (tiny(lightness) - ab).abs().max() < 1e-4
            with monkeypatch.context() as patch:
                patch.setattr(ddcolor, "gray_rgb", gray_by_skimage)
                assert (tiny(lightness) - ab).abs().max() < 5e-6


def test_the_large_network_predicts_what_the_released_code_predicts() -> None:
    with torch.device("meta"):  # it takes seconds to draw weights, and `fill` replaces them
        model = DDColor(size="large")
    model.to_empty(device="cpu")
    model.mean.copy_(torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
    model.std.copy_(torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
    lightness, ab = next(reference_predictions("ddcolor_large"))
    with torch.no_grad():
        assert (fill(model)(lightness) - ab).abs().max() < 1e-4


def test_what_does_not_matter_may_be_missing_from_weights_or_too_much_and_nothing_else() -> None:
    model, complete = NARROW(), NARROW().state_dict()
    unused = ("mean", "std", "encoder.arch.norm.weight", "encoder.arch.norm.bias")
    weights = {name: value for name, value in complete.items() if name not in unused}
    model.load_state_dict(weights | {"encoder.arch.head.weight": torch.zeros(1)})
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in complete.items())
    less = {name: value for name, value in weights.items() if name != "decoder.layers.0.bn.bias"}
    for wrong in (weights | {"encoder.head.weight": torch.zeros(1)}, less):
        with pytest.raises(RuntimeError, match=r"encoder\.head|layers\.0\.bn\.bias"):
            model.load_state_dict(wrong)


# -- parts -------------------------------------------------------------------------------------------


def test_a_picture_of_one_block_and_a_copy_in_training_are_colored() -> None:
    model = NARROW()
    model(torch.rand(2, 1, 64, 64) * 100).sum().backward()
    twin = copy.deepcopy(model).eval()
    lightness = torch.rand(1, 1, 16, 20) * 100
    with torch.no_grad():
        assert torch.equal(twin(lightness), model.eval()(lightness))


# -- the encoder's weights ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timm_encoder() -> nn.Module:
    """Return a narrow ConvNeXt-tiny of timm's with random weights; untrained, its blocks would add next to nothing."""
    encoder = timm.create_model("convnext_tiny", pretrained=False, dims=(8, 16, 32, 64), num_classes=10)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in encoder.named_parameters():
            weight.copy_(torch.randn(weight.shape) * (0.3 if weight.dim() > 1 else 0.1) + ("norm.weight" in name))
    return encoder.eval()


def original_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with timm's names by those of the authors' files, after the table of timm's own converter."""
    renamed = {}
    for name, value in weights.items():
        name = name.replace("stem.", "downsample_layers.0.").replace(".conv_dw.", ".dwconv.").replace("blocks.", "")
        name = name.replace("mlp.fc", "pwconv").replace("head.norm.", "norm.").replace("head.fc.", "head.")
        if ".downsample." in name:
            stage, place = name.split(".")[1], name.split(".downsample.")[1]
            name = f"downsample_layers.{stage}.{place}"
        renamed[name] = value
    return renamed


@pytest.mark.parametrize("form", ["timm", "original"])
def test_the_encoder_starts_from_imagenet_weights_and_gives_timms_features(
    form: str, timm_encoder: nn.Module, tmp_path: Path
) -> None:
    state = timm_encoder.state_dict()
    file = tmp_path / "convnext.pth"
    torch.save(state if form == "timm" else {"model": original_names(state)}, file)
    model = NARROW()
    model.load_pretrained_parts(file)
    picture = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        found = model.encoder["arch"].eval()(picture)
        expected = timm_encoder.forward_intermediates(picture, intermediates_only=True)
    for ours, theirs in zip(found, expected, strict=True):
        normalized = nn.functional.layer_norm(theirs.movedim(1, -1), theirs.shape[1:2], eps=1e-6).movedim(-1, 1)
        assert theirs.std() > 0.1
        assert torch.allclose(ours, normalized, atol=1e-4)


def test_a_file_without_a_convnext_of_this_size_is_refused(timm_encoder: nn.Module, tmp_path: Path) -> None:
    file = tmp_path / "convnext.pth"
    torch.save(timm_encoder.state_dict(), file)
    with pytest.raises(UserError, match=r"holds no ConvNeXt of this size \(model.size=tiny\): downsample_layers.0.0"):
        DDColor(width=32, queries=8, layers=3, encoder_width=12).load_pretrained_parts(file)
    with pytest.raises(UserError, match="There is no checkpoint at"):
        NARROW().load_pretrained_parts(tmp_path / "none.pth")
    with pytest.raises(UserError, match=r"model.width=40 must be a multiple of 16"):
        DDColor(width=40)
    with pytest.raises(UserError, match=r"model.layers=2 must be at least 3"):
        DDColor(layers=2)


def test_a_training_starts_from_the_encoders_file_and_its_checkpoint_needs_it_no_more(
    timm_encoder: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(timm_encoder.state_dict(), "convnext.pth")
    small = [each for each in SMALL if each not in ("model=cunet", "model.width=4", "trainer.max_epochs=2")]
    narrow = ("model.width=32", "model.queries=4", "model.layers=3", "model.encoder_width=8")
    assert not train_exit_code(
        monkeypatch, *small, "model=ddcolor", *narrow, "model.encoder_weights=convnext.pth", "model.encoder_lr=0",
        "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "hydra.run.dir=run",
    )  # fmt: skip
    Path("convnext.pth").unlink()
    model = colorlab.load("run")
    assert "encoder_weights" not in model.hparams
    stem = model.state_dict()["encoder.arch.downsample_layers.0.0.weight"]
    assert torch.equal(stem, timm_encoder.state_dict()["stem.0.weight"])


# -- compiled and exported ---------------------------------------------------------------------------


@pytest.fixture
def shallow(monkeypatch: pytest.MonkeyPatch) -> DDColor:
    """Return a network with one block in each stage of the encoder, which is traced in seconds."""
    monkeypatch.setitem(ddcolor.ENCODERS, "tiny", ((1, 1, 1, 1), 8))
    return DDColor(width=32, queries=4, layers=3)


@pytest.mark.slow  # so does the critic's training, with the same convolution
def test_it_compiles_without_a_break_and_trains_alike(shallow: DDColor) -> None:
    """With torch's tracer, but without the code of inductor, which would take a minute to compile."""
    twin, lightness = copy.deepcopy(shallow), torch.rand(2, 1, 64, 64) * 100
    compiled = torch.compile(twin.network, backend="eager", dynamic=False, fullgraph=True)
    for network in (shallow.network, compiled):
        network(lightness).pow(2).sum().backward()
    for (name, one), other in zip(shallow.named_parameters(), twin.parameters(), strict=True):
        assert not one.requires_grad or torch.allclose(one.grad, other.grad, rtol=1e-3, atol=1e-5), name
    assert torch.allclose(twin.state_dict()["refine_net.0.0.weight_u"], shallow.refine_net[0][0].weight_u)


@pytest.mark.slow  # eccv16 and cunet are exported in tests/export
def test_one_exported_graph_colors_every_size_above_32(shallow: DDColor) -> None:
    graph = Graph(shallow.eval().requires_grad_(False).to(memory_format=torch.contiguous_format), rgb=False).eval()
    assert "from 33 up" in graph.facts()["input"]
    program = torch.export.export(graph, (graph.example(),), dynamic_shapes=graph.shapes()).module()
    with torch.no_grad():
        for size in ((1, 1, 33, 100), (3, 1, 64, 64)):
            lightness = torch.rand(size) * 100
            assert (program(lightness) - shallow(lightness)).abs().max() < 1e-4
