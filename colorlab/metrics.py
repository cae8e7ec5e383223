"""How good a prediction is."""

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from colorlab.color import lab_to_rgb


def psnr(predicted: Tensor, true: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture, in dB.

    Args:
        predicted, true: rgb, [B, 3, H, W] in 0..1.

    Returns:
        [B] float32; the mean over a set is the mean of these.
    """
    return peak_signal_noise_ratio(predicted, true, data_range=1.0, reduction="none", dim=(1, 2, 3))


def color_psnr(lightness: Tensor, predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """PSNR of the colored picture and of the gray one (ab = 0), each against the photograph.

    The gray picture's is the score of a network that learned nothing.

    Args:
        lightness: L, [B, 1, H, W] in 0..100.
        predicted, true: ab, [B, 2, H, W] in -128..127.

    Returns:
        Two [B] float32, in dB.
    """
    photograph = lab_to_rgb(lightness, true)
    colored = psnr(lab_to_rgb(lightness, predicted), photograph)
    gray = psnr(lab_to_rgb(lightness, torch.zeros_like(true)), photograph)
    return colored, gray
