"""What is chosen for a machine; of a GPU only what it says of itself, which no GPU is needed for."""

import pytest
import torch
from lightning import Trainer

from colorlab.config import Plan
from colorlab.data import ColorDataModule
from colorlab.errors import Stopped, UserError
from colorlab.train.hardware import enough_memory, fast_settings

ADAM, SGD, RPROP = (Plan(kind, {}) for kind in (torch.optim.Adam, torch.optim.SGD, torch.optim.Rprop))


def trainer(**arguments: object) -> Plan:
    return Plan(Trainer, arguments)


@pytest.fixture(params=[True, False], ids=["bf16", "no_bf16"])
def gpu_has_bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A GPU, as far as torch's answers go."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: request.param)
    return request.param


@pytest.mark.parametrize("accelerator", [{}, {"accelerator": "auto"}, {"accelerator": "gpu"}])
def test_a_gpu_trains_in_bf16_where_it_has_it(gpu_has_bf16: bool, accelerator: dict[str, str]) -> None:
    precision = "bf16-mixed" if gpu_has_bf16 else "32-true"
    assert fast_settings(trainer(**accelerator), ADAM)["trainer"]["precision"] == precision


def test_a_cpu_trains_in_float32_even_beside_a_gpu(gpu_has_bf16: bool) -> None:
    assert fast_settings(trainer(accelerator="cpu"), ADAM)["trainer"]["precision"] == "32-true"


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-true", None])
def test_a_given_precision_stays(gpu_has_bf16: bool, precision: str | None) -> None:
    assert fast_settings(trainer(precision=precision), ADAM)["trainer"]["precision"] == precision


def test_algorithms_are_tried_unless_the_run_is_deterministic_or_the_sizes_differ() -> None:
    assert fast_settings(trainer(), ADAM)["trainer"]["benchmark"]
    assert not fast_settings(trainer(deterministic=True), ADAM)["trainer"]["benchmark"]
    assert not fast_settings(trainer(), ADAM, one_size=False)["trainer"]["benchmark"]


def test_an_optimizer_is_fused_where_it_can_be() -> None:
    assert fast_settings(trainer(), ADAM)["optim"] == {"fused": True}
    assert fast_settings(trainer(), SGD)["optim"] == {"fused": True}
    assert "optim" not in fast_settings(trainer(), RPROP)
    assert "optim" not in fast_settings(trainer(), Plan(torch.optim.Adam, {"foreach": True}))


def test_clipping_in_a_mixed_precision_needs_an_optimizer_that_is_not() -> None:
    clipped = trainer(gradient_clip_val=1.0, precision="bf16-mixed")
    assert "optim" not in fast_settings(clipped, ADAM)
    assert "optim" in fast_settings(trainer(gradient_clip_val=1.0), ADAM)
    with pytest.raises(UserError, match="do not go together in bf16-mixed"):
        fast_settings(clipped, Plan(torch.optim.Adam, {"fused": True}))


@pytest.mark.parametrize("said", ["could not create a primitive", "DefaultCPUAllocator: can't allocate memory"])
def test_an_allocation_that_fails_on_a_cpu_is_out_of_memory(said: str) -> None:
    data = ColorDataModule(batch_size=8)
    message = "cpu is out of memory at data.batch_size=8: data.batch_size=4"
    with pytest.raises(Stopped, match=message), enough_memory(data, Trainer(accelerator="cpu", logger=False)):
        raise RuntimeError(said)


def test_another_error_of_a_step_stays_as_it_is() -> None:
    data, cpu = ColorDataModule(), Trainer(accelerator="cpu", logger=False)
    with pytest.raises(RuntimeError, match="must match the size of tensor b"), enough_memory(data, cpu):
        torch.zeros(2) + torch.zeros(3)
