"""Copies of a GPU's numbers on the CPU, made without waiting for the GPU."""

import torch
from torch import Tensor


class HostCopy:
    """An asynchronous copy of a tensor to the CPU.

    Args:
        value: the tensor to copy, on any device.
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value.detach().to("cpu", non_blocking=value.is_cuda)
        self._arrived = torch.cuda.Event() if value.is_cuda else None
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(value.device))

    def get(self) -> Tensor:
        """Wait for the copy and return it."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._value


class DelayedValue:
    """The newest value of a series that can be read without waiting for a GPU."""

    def __init__(self) -> None:
        self._copy: HostCopy | None = None

    def update(self, value: Tensor) -> Tensor | None:
        """Take the next value; return it if it is on the CPU, and otherwise the previous one, None at first."""
        if value.device.type == "cpu":
            return value
        previous, self._copy = self._copy, HostCopy(value)
        return previous.get() if previous is not None else None
