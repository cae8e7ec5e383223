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


def colorfulness(rgb: Tensor) -> Tensor:
    """How colorful each picture looks: 0 for gray, 15 slightly, 45 averagely, 80 highly colorful.

    Args:
        rgb: [B, 3, H, W] in 0..1.

    Returns:
        [B] float32.

    Source: Hasler, Süsstrunk, "Measuring colourfulness in natural images", 2003, metric M̂(3).
    """
    red, green, blue = (rgb.float() * 255).flatten(2).unbind(dim=1)
    opponents = torch.stack((red - green, (red + green) / 2 - blue), dim=1)
    spread = opponents.var(dim=2, correction=0).sum(dim=1).sqrt()
    return spread + 0.3 * opponents.mean(dim=2).norm(dim=1)


def scores(lightness: Tensor, predicted: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Judge each predicted picture, with what the numbers are to be read against.

    Args:
        lightness: L, [B, 1, H, W] in 0..100.
        predicted, true: ab, [B, 2, H, W] in -128..127.

    Returns:
        psnr of the colored picture and psnr_gray of the gray one (ab = 0), each against the
        photograph, in dB; the colored picture's colorfulness and the photograph's, colorfulness_true.
        Each is [B] float32. The gray picture's PSNR is the score of a network that learned nothing.
    """
    photograph, colored = lab_to_rgb(lightness, true), lab_to_rgb(lightness, predicted)
    gray = lab_to_rgb(lightness, torch.zeros_like(true))
    return {
        "psnr": psnr(colored, photograph),
        "psnr_gray": psnr(gray, photograph),
        "colorfulness": colorfulness(colored),
        "colorfulness_true": colorfulness(photograph),
    }
