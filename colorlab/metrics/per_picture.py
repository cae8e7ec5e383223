"""Metrics of single pictures; the score of a set is the mean over its pictures.

Values are computed in float32 whatever the surrounding precision, from pictures that are not rounded to 8 bits.
"""

from collections.abc import Callable, Iterable
from functools import cached_property

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from colorlab.color import exact, lab_to_rgb, rgb_to_lab


class Colored:
    """Photographs and the pictures that a model predicts from their lightness.

    Args:
        lightness: L, [B, 1, H, W] in 0..100.
        predicted, true: ab, [B, 2, H, W] in -128..127.
    """

    def __init__(self, lightness: Tensor, predicted: Tensor, true: Tensor) -> None:
        self.lightness, self.predicted, self.true = lightness, predicted.float(), true

    @cached_property
    def picture(self) -> Tensor:
        """The predicted picture, rgb, [B, 3, H, W] in 0..1."""
        return lab_to_rgb(self.lightness, self.predicted)

    @cached_property
    def photograph(self) -> Tensor:
        """The photograph, rgb, [B, 3, H, W] in 0..1."""
        return lab_to_rgb(self.lightness, self.true)

    def gray(self) -> "Colored":
        """Return the same photographs with ab = 0, the prediction of a network that learned nothing."""
        gray = Colored(self.lightness, torch.zeros_like(self.true), self.true)
        gray.photograph = self.photograph
        return gray


# -- on the pictures -------------------------------------------------------------------------------


def psnr(colored: Colored) -> Tensor:
    """Compute the peak signal-to-noise ratio of the rgb pictures, [B], in dB; infinite for equal pictures."""
    return peak_signal_noise_ratio(colored.picture, colored.photograph, data_range=1.0, reduction="none", dim=(1, 2, 3))


WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation of SSIM's Gaussian window, in pixels."""


def ssim(colored: Colored) -> Tensor:
    """Compute the structural similarity, [B], at most 1: the mean over the three channels of rgb.

    The mean is over the windows that lie within the picture, as in the authors' program; NaN for pictures smaller
    than 11×11. torchmetrics also counts a mirrored border, which changes the value by some thousandths; kornia's
    `ssim(padding="valid")` is farther than 1e-5 from scikit-image in float32.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    if min(colored.picture.shape[-2:]) < WINDOW:
        return torch.full_like(colored.picture[:, 0, 0, 0], torch.nan)
    structure, luminance = _similarity(colored.picture, colored.photograph)
    return (structure * luminance).mean(dim=(1, 2, 3))


SCALE_POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = 176
"""The smallest side, in pixels, that the fifth scale halves to the window's 11."""


def ms_ssim(colored: Colored) -> Tensor:
    """Compute the structural similarity over five scales, [B], at most 1; NaN for pictures below 176×176.

    The product over the scales is taken for each channel of rgb, then the mean over the three (our choice). A
    negative mean of a scale counts as 0. torchmetrics counts a mirrored border at the last scale.

    Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", 2003.
    """
    predicted, true = colored.picture, colored.photograph
    product = torch.ones_like(predicted[:, :, 0, 0])
    if min(predicted.shape[-2:]) < MS_SSIM_MIN_SIDE:
        return product.mean(dim=1) * torch.nan
    for scale, power in enumerate(SCALE_POWERS, start=1):
        structure, luminance = _similarity(predicted, true)
        similarity = structure * luminance if scale == len(SCALE_POWERS) else structure
        product = product * similarity.mean(dim=(2, 3)).clamp(min=0) ** power
        predicted, true = F.avg_pool2d(predicted, 2), F.avg_pool2d(true, 2)
    return product.mean(dim=1)


def _similarity(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the contrast-structure and the luminance term of SSIM, [B, 3, H − 10, W − 10] each."""

    def blur(picture: Tensor) -> Tensor:
        inside = slice(WINDOW // 2, -(WINDOW // 2))
        return gaussian_blur2d(picture, (WINDOW, WINDOW), (SIGMA, SIGMA))[..., inside, inside]

    level = true.mean(dim=(2, 3), keepdim=True)  # float32 keeps more digits of the variance of values around 0
    predicted, true = predicted - level, true - level
    mean_predicted, mean_true = blur(predicted), blur(true)
    variances = blur(predicted * predicted + true * true) - mean_predicted**2 - mean_true**2
    covariance = blur(predicted * true) - mean_predicted * mean_true
    structure = (2 * covariance + 0.03**2) / (variances + 0.03**2)
    mean_predicted, mean_true = mean_predicted + level, mean_true + level
    luminance = (2 * mean_predicted * mean_true + 0.01**2) / (mean_predicted**2 + mean_true**2 + 0.01**2)
    return structure, luminance


def ciede2000(colored: Colored) -> Tensor:
    """Compute the mean CIEDE2000 color difference over the pixels, [B]; about 1 is just noticeable.

    Colors outside sRGB are clipped first, as they are when the picture is shown.
    """
    lightness, ab = rgb_to_lab(colored.picture)
    shown, true = (torch.cat(lab, dim=1) for lab in ((lightness, ab), (colored.lightness, colored.true)))
    return delta_e_2000(shown, true).mean(dim=(1, 2))


def delta_e_2000(one: Tensor, other: Tensor) -> Tensor:
    """Compute the CIEDE2000 difference of each pixel: lab, [B, 3, H, W] twice → [B, H, W].

    Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", 2005, with its equation numbers.
    """
    (L1, a1, b1), (L2, a2, b2) = one.unbind(dim=1), other.unbind(dim=1)
    mean_chroma = (torch.hypot(a1, b1) + torch.hypot(a2, b2)) / 2  # 2, 3
    stretch = 1.5 - 0.5 * _chroma_weight(mean_chroma)  # 1 + G, 4
    a1, a2 = a1 * stretch, a2 * stretch  # 5
    chroma1, chroma2 = torch.hypot(a1, b1), torch.hypot(a2, b2)  # 6
    hue1, hue2 = (torch.atan2(b, a).rad2deg() % 360 for a, b in ((a1, b1), (a2, b2)))  # 7

    colorless = chroma1 * chroma2 == 0
    turn = hue2 - hue1  # 10
    turn = torch.where(turn > 180, turn - 360, torch.where(turn < -180, turn + 360, turn))
    turn = turn.masked_fill(colorless, 0)
    d_lightness, d_chroma = L2 - L1, chroma2 - chroma1  # 8, 9
    d_hue = 2 * (chroma1 * chroma2).sqrt() * (turn / 2).deg2rad().sin()  # 11

    lightness, chroma = (L1 + L2) / 2, (chroma1 + chroma2) / 2  # 12, 13
    apart = (hue1 - hue2).abs() > 180
    hue = (hue1 + hue2 + torch.where(apart, torch.where(hue1 + hue2 < 360, 360, -360), 0)) / 2  # 14
    hue = torch.where(colorless, hue1 + hue2, hue)
    weight = (
        1 - 0.17 * (hue - 30).deg2rad().cos() + 0.24 * (2 * hue).deg2rad().cos()
        + 0.32 * (3 * hue + 6).deg2rad().cos() - 0.20 * (4 * hue - 63).deg2rad().cos()
    )  # 15  # fmt: skip
    rotation = 30 * (-(((hue - 275) / 25) ** 2)).exp()  # 16
    squared = (lightness - 50) ** 2
    d_lightness = d_lightness / (1 + 0.015 * squared / (20 + squared).sqrt())  # 18
    d_chroma = d_chroma / (1 + 0.045 * chroma)  # 19
    d_hue = d_hue / (1 + 0.015 * chroma * weight)  # 20
    mixed = -(2 * rotation).deg2rad().sin() * 2 * _chroma_weight(chroma) * d_chroma * d_hue  # 17, 21
    return (d_lightness**2 + d_chroma**2 + d_hue**2 + mixed).clamp(min=0).sqrt()  # 22


def _chroma_weight(chroma: Tensor) -> Tensor:
    seventh = chroma**7
    return (seventh / (seventh + 25.0**7)).sqrt()


def colorfulness(colored: Colored) -> Tensor:
    """Compute the colorfulness of each predicted picture, [B]; see `colorfulness_of`."""
    return colorfulness_of(colored.picture)


def colorfulness_of(rgb: Tensor) -> Tensor:
    """Compute the colorfulness of pictures: 0 is gray, 15 slightly, 45 averagely, 80 highly colorful.

    The gradient is finite everywhere, and 0 for a gray picture.

    Args:
        rgb: [B, 3, H, W] in 0..1.

    Returns:
        [B] float32.

    Source: Hasler, Süsstrunk, "Measuring colourfulness in natural images", 2003, metric M̂(3).
    """
    red, green, blue = (rgb.float() * 255).flatten(2).unbind(dim=1)
    opponents = torch.stack((red - green, (red + green) / 2 - blue), dim=1)
    variance = opponents.var(dim=2, correction=0).sum(dim=1)
    spread = torch.where(variance > 0, variance.clamp(min=1e-30).sqrt(), 0)  # sqrt alone has no gradient at 0
    return spread + 0.3 * opponents.mean(dim=2).norm(dim=1)


# -- on ab -----------------------------------------------------------------------------------------


def ab_rmse(colored: Colored) -> Tensor:
    """Compute the root mean squared error of a and b, [B], in CIE units."""
    return (colored.predicted - colored.true).square().mean(dim=(1, 2, 3)).sqrt()


def auc(colored: Colored) -> Tensor:
    """Compute Zhang's area under the curve, [B], in percent; see `auc_of_pixels`."""
    return auc_of_pixels(colored).mean(dim=(1, 2))


AUC_LIMIT = 150


def auc_of_pixels(colored: Colored) -> Tensor:
    """Compute each pixel's contribution to the area under the curve, [B, H, W], in percent.

    The curve is the share of pixels whose error in ab is at most t, at t = 0, 1, …, 150; the area under it (by
    trapezoids, our choice) is divided by 150. A pixel with error e counts from t = ⌈e⌉ on, so the area is a sum
    over the pixels.

    Source: "Colorful Image Colorization" (Zhang et al. 2016), section 3.1.
    """
    error = (colored.predicted - colored.true).norm(dim=1).ceil()
    area = AUC_LIMIT + 0.5 - error - 0.5 * (error == 0)  # trapezoids halve the curve's first and last value
    return area.clamp(min=0) * (error <= AUC_LIMIT) * (100 / AUC_LIMIT)


# -- by name ---------------------------------------------------------------------------------------

Measure = Callable[[Colored], Tensor]
"""Computes a metric of each picture, [B]."""

MEASURES: dict[str, Measure] = {
    function.__name__: function for function in (psnr, ssim, ms_ssim, ciede2000, colorfulness, auc, ab_rmse)
}
"""The metrics computed from the pictures alone, by name; `colorlab.metrics.metric_names` adds classes of plugins."""

IN_TRAINING = ("psnr", "ssim", "ciede2000", "colorfulness")


def measure(colored: Colored, names: Iterable[str] = tuple(MEASURES)) -> dict[str, Tensor]:
    """Compute metrics by name: {name: [B] float32}."""
    with torch.no_grad(), exact(colored.lightness.device):
        return {name: MEASURES[name](colored) for name in names}


def scores(lightness: Tensor, predicted: Tensor, true: Tensor, names: Iterable[str] = IN_TRAINING) -> dict[str, Tensor]:
    """Compute metrics of each predicted picture, with the baselines that they are compared with.

    Args:
        lightness: L, [B, 1, H, W] in 0..100.
        predicted, true: ab, [B, 2, H, W] in -128..127.
        names: the metrics.

    Returns:
        The metrics, [B] float32 each; with psnr also psnr_gray, the PSNR of the gray picture (of a network that
        learned nothing), and with colorfulness also colorfulness_true, the photograph's.
    """
    names = list(names)
    if len(lightness) > 1 and lightness.device.type == "cpu":  # single pictures fit the CPU's cache: twice as fast
        batch = zip(lightness.split(1), predicted.split(1), true.split(1), strict=True)
        singles = [scores(*single, names) for single in batch]
        return {name: torch.cat([single[name] for single in singles]) for name in singles[0]}
    colored = Colored(lightness, predicted, true)
    found = measure(colored, names)
    if "psnr" in found:
        found["psnr_gray"] = psnr(colored.gray())
    if "colorfulness" in found:
        found["colorfulness_true"] = colorfulness_of(colored.photograph)
    return found
