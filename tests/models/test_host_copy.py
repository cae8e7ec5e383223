"""Copies of a device's numbers on the CPU."""

import torch

from colorlab.models.host_copy import DelayedValue, HostCopy


def test_a_number_on_the_cpu_is_available_at_once() -> None:
    loss = torch.tensor(3.0)
    assert HostCopy(loss).get() == loss
    assert DelayedValue().update(loss) is loss
