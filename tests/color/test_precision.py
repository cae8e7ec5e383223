"""The precision of conversions, whatever the settings of the process."""

import torch

from colorlab.color import exact, lab_to_rgb, rgb_to_lab
from support.colors import grays


def test_lab_is_exact_if_the_default_type_is_bf16() -> None:
    rgb = torch.linspace(0, 1, 3 * 64).reshape(1, 3, 8, 8)
    expected = lab_to_rgb(*rgb_to_lab(rgb)), *rgb_to_lab(rgb)
    torch.set_default_dtype(torch.bfloat16)
    try:
        found = lab_to_rgb(*rgb_to_lab(rgb)), *rgb_to_lab(rgb)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_the_tf32_setting_is_restored() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    try:
        for setting in (True, False):
            matmul.allow_tf32 = setting
            rgb_to_lab(grays())
            assert matmul.allow_tf32 is setting
    finally:
        matmul.allow_tf32 = before


def test_the_last_of_two_threads_restores_the_settings() -> None:
    first, second = exact(torch.device("cpu")), exact(torch.device("cpu"))
    torch.set_default_dtype(torch.bfloat16)
    try:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.float32
        second.__exit__(None, None, None)
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
