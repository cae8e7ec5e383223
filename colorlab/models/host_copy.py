"""Numbers that a device has yet to compute."""

import torch
from torch import Tensor


class HostCopy:
    """A number on its way from a GPU: nobody waits for it until it is asked for.

    Args:
        value: where it is computed.
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value.detach().to("cpu", non_blocking=value.is_cuda)
        self._arrived = torch.cuda.Event() if value.is_cuda else None
        if self._arrived is not None:
            self._arrived.record(torch.cuda.current_stream(value.device))

    def get(self) -> Tensor:
        """The number, on the CPU."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._value
