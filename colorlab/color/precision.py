"""Float32 arithmetic that is float32, whatever the surrounding precision.

kornia guards only against half-precision inputs. Under bf16 autocast, with TF32 matrix products on CUDA, or where
Lightning's "bf16-true" makes bf16 the default type of new tensors, its 3×3 matrix is off by up to three units of a
and b. `exact` switches all three off.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import torch


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Compute in float32: no autocast, no TF32, and float32 as the default type of new tensors."""
    with _settings.exact(), torch.autocast(device.type, enabled=False):
        yield


class _Settings:
    """TF32 and the default type belong to the process: the first thread that enters changes, the last restores them."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._before: tuple[bool, bool, torch.dtype]

    @contextmanager
    def exact(self) -> Iterator[None]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        with self._lock:
            if self._inside == 0:
                self._before = cudnn.allow_tf32, matmul.allow_tf32, torch.get_default_dtype()
                cudnn.allow_tf32 = matmul.allow_tf32 = False
                torch.set_default_dtype(torch.float32)
            self._inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    cudnn.allow_tf32, matmul.allow_tf32, dtype = self._before
                    torch.set_default_dtype(dtype)


_settings = _Settings()
