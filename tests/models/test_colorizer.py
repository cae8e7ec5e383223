"""How a Colorizer learns: with compiled code, and resumed on another machine."""

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything
from torch import nn
from torch.utils.data import DataLoader

from colorlab.data.batch import Batch
from colorlab.models import ECCV16, Colorizer, CUNet
from colorlab.schedules import Constant

MODELS = {"eccv16": partial(ECCV16, width=2), "cunet": partial(CUNet, width=2)}


@pytest.fixture(params=MODELS)
def build(request: pytest.FixtureRequest) -> partial:
    return MODELS[request.param]


def batches(count: int = 4) -> DataLoader:
    draw = torch.Generator().manual_seed(0)
    L = torch.rand(2 * count, 1, 16, 16, generator=draw) * 100
    ab = torch.rand(2 * count, 2, 16, 16, generator=draw) * 60
    index = torch.arange(2 * count)
    return DataLoader([Batch(*pair) for pair in zip(L.split(2), ab.split(2), index.split(2), strict=True)], None)


def fit(model: Colorizer, folder: Path, compiled: bool = False, fused: bool = True, **settings: object) -> Path:
    """Train, and return the checkpoint."""
    seed_everything(0, verbose=False)
    # A large eps: differences by rounding must not decide the direction of a step.
    optim = partial(torch.optim.Adam, lr=1e-2, eps=1.0, weight_decay=1e-4, fused=fused)
    model.prepare_training(nn.MSELoss(), optim, Constant(), compile_network=compiled)
    trainer = Trainer(
        max_epochs=2 if settings else 1, default_root_dir=folder, logger=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, batches(), **settings)
    trainer.save_checkpoint(folder / "end.ckpt")
    return folder / "end.ckpt"


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_compiled_training_gives_the_same_weights_under_the_same_names(
    build: partial, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With torch's tracer and autograd, but without the code of inductor, which would take 50 s to compile."""
    real = partial(torch.compile, backend="aot_eager")
    calls = []
    monkeypatch.setattr(torch, "compile", lambda network, **how: calls.append(how) or real(network, **how))
    ends = []
    for compiled in (False, True):
        torch.manual_seed(0)
        ends.append(read(fit(build(), tmp_path, compiled))["state_dict"])
    assert calls == [{"dynamic": False}]
    plain, compiled = ends
    assert plain.keys() == compiled.keys() == build().state_dict().keys()
    assert all(torch.allclose(value, compiled[name], atol=1e-4) for name, value in plain.items())


def test_a_checkpoint_with_another_layout_and_another_kind_of_optimizer_resumes(build: partial, tmp_path: Path) -> None:
    """Checkpoints of an earlier version are row by row, those of another machine not fused."""
    torch.manual_seed(0)
    rows_first = build().to(memory_format=torch.contiguous_format)
    begun = fit(rows_first, tmp_path, fused=False).rename(tmp_path / "begun.ckpt")
    state = read(begun)["optimizer_states"][0]["state"]
    assert any(moments["exp_avg"].is_contiguous() and moments["exp_avg"].dim() == 4 for moments in state.values())
    weights = [read(fit(build(), tmp_path, fused=fused, ckpt_path=begun, weights_only=True)) for fused in (True, False)]
    fused, loop = (end["state_dict"] for end in weights)
    assert all(torch.allclose(value, loop[name], atol=1e-5) for name, value in fused.items())
