"""How good a prediction is: one value a picture, the mean of which is the score of a set.

Values are computed in float32 whatever surrounds them, on pictures that are not rounded to 8 bits.
"""

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from colorlab.color import exact, lab_to_rgb, rgb_to_lab
from colorlab.errors import UserError, did_you_mean


class Colored:
    """Photographs and what a model made of their lightness.

    Args:
        lightness: L, [B, 1, H, W] in 0..100.
        predicted, true: ab, [B, 2, H, W] in -128..127.
    """

    def __init__(self, lightness: Tensor, predicted: Tensor, true: Tensor) -> None:
        self.lightness, self.predicted, self.true = lightness, predicted.float(), true

    @cached_property
    def picture(self) -> Tensor:
        """The colored picture, rgb, [B, 3, H, W] in 0..1."""
        return lab_to_rgb(self.lightness, self.predicted)

    @cached_property
    def photograph(self) -> Tensor:
        """The true picture, rgb, [B, 3, H, W] in 0..1."""
        return lab_to_rgb(self.lightness, self.true)

    def gray(self) -> "Colored":
        """The same photographs left gray: the prediction of a network that learned nothing."""
        gray = Colored(self.lightness, torch.zeros_like(self.true), self.true)
        gray.photograph = self.photograph
        return gray


# -- on the pictures -------------------------------------------------------------------------------


def psnr(colored: Colored) -> Tensor:
    """Peak signal-to-noise ratio of the rgb pictures, [B], in dB; infinite for equal ones."""
    return peak_signal_noise_ratio(colored.picture, colored.photograph, data_range=1.0, reduction="none", dim=(1, 2, 3))


WINDOW = 11
"""Side of the window that SSIM looks through, in pixels."""


def ssim(colored: Colored) -> Tensor:
    """Structural similarity, [B], at most 1: the mean over the three channels of rgb.

    Where the window reaches beyond the picture there is no value, as in the authors' program;
    torchmetrics counts the mirrored border, and is off by some thousandths. NaN for pictures smaller
    than the window, 11×11.

    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    if min(colored.picture.shape[-2:]) < WINDOW:
        return torch.full_like(colored.picture[:, 0, 0, 0], torch.nan)
    structure, luminance = _similarity(colored.picture, colored.photograph)
    return (structure * luminance).mean(dim=(1, 2, 3))


SCALE_POWERS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_LEAST = 176
"""Below this side, in pixels, a picture has less than the window's 11 left at the fifth scale."""


def ms_ssim(colored: Colored) -> Tensor:
    """Structural similarity over five scales, [B], at most 1; NaN for pictures too small for them.

    The product over the scales is taken of each channel of rgb, then the mean over the three (our
    choice); a negative mean of a scale counts as 0.

    Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment", 2003.
    """
    one, other = colored.picture, colored.photograph
    product = torch.ones_like(one[:, :, 0, 0])
    if min(one.shape[-2:]) < MS_SSIM_LEAST:
        return product.mean(dim=1) * torch.nan
    for scale, power in enumerate(SCALE_POWERS, start=1):
        structure, luminance = _similarity(one, other)
        similarity = structure * luminance if scale == len(SCALE_POWERS) else structure
        product = product * similarity.mean(dim=(2, 3)).clamp(min=0) ** power
        one, other = F.avg_pool2d(one, 2), F.avg_pool2d(other, 2)
    return product.mean(dim=1)


def _similarity(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """The contrast-and-structure and the luminance term of SSIM, [B, 3, H − 10, W − 10] each."""
    place = torch.arange(-5, 6, dtype=one.dtype, device=one.device)
    window = (-(place**2) / (2 * 1.5**2)).exp()
    window = window / window.sum()

    def blur(picture: Tensor) -> Tensor:
        flat = picture.flatten(0, 1)[:, None]
        flat = F.conv2d(F.conv2d(flat, window[None, None, :, None]), window[None, None, None])
        return flat[:, 0].unflatten(0, picture.shape[:2])

    level = other.mean(dim=(2, 3), keepdim=True)  # variances of what lies about 0 lose no digits in float32
    one, other = one - level, other - level
    mean_one, mean_other = blur(one), blur(other)
    variances = blur(one * one + other * other) - mean_one**2 - mean_other**2
    covariance = blur(one * other) - mean_one * mean_other
    structure = (2 * covariance + 0.03**2) / (variances + 0.03**2)
    mean_one, mean_other = mean_one + level, mean_other + level
    luminance = (2 * mean_one * mean_other + 0.01**2) / (mean_one**2 + mean_other**2 + 0.01**2)
    return structure, luminance


def ciede2000(colored: Colored) -> Tensor:
    """How different the colors look, [B]: the mean over the pixels of ΔE₀₀; about 1 is just noticeable.

    Of the pictures as they are shown: colors out of sRGB's reach are clipped first.
    """
    lightness, ab = rgb_to_lab(colored.picture)
    shown, true = (torch.cat(lab, dim=1) for lab in ((lightness, ab), (colored.lightness, colored.true)))
    return delta_e_2000(shown, true).mean(dim=(1, 2))


def delta_e_2000(one: Tensor, other: Tensor) -> Tensor:
    """The CIEDE2000 difference of each pixel: lab, [B, 3, H, W] twice → [B, H, W].

    Source: Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", 2005; equation numbers are theirs.
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
    """How colorful each colored picture looks, [B]; see `colorfulness_of`."""
    return colorfulness_of(colored.picture)


def colorfulness_of(rgb: Tensor) -> Tensor:
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


# -- on ab -----------------------------------------------------------------------------------------


def ab_rmse(colored: Colored) -> Tensor:
    """Root of the mean squared error of a and b, [B], in their units."""
    return (colored.predicted - colored.true).square().mean(dim=(1, 2, 3)).sqrt()


def auc(colored: Colored) -> Tensor:
    """Zhang's area under the curve, [B], in percent; see `auc_of_pixels`."""
    return auc_of_pixels(colored).mean(dim=(1, 2))


AUC_LIMIT = 150


def auc_of_pixels(colored: Colored) -> Tensor:
    """What each pixel adds to the area under the curve, [B, H, W], in percent.

    The curve is the share of pixels whose error in ab is at most t, at t = 0, 1, …, 150; the area
    under it (by trapezoids, our choice) is divided by 150. The area is a sum over the pixels, so
    that no curve need be drawn: a pixel with error e is in the curve from ⌈e⌉ on.

    Source: "Colorful Image Colorization" (Zhang et al. 2016), section 3.1.
    """
    error = (colored.predicted - colored.true).norm(dim=1).ceil()
    area = AUC_LIMIT + 0.5 - error - 0.5 * (error == 0)  # the trapezoids halve the curve's two ends
    return area.clamp(min=0) * (error <= AUC_LIMIT) * (100 / AUC_LIMIT)


# -- all of them -----------------------------------------------------------------------------------


class Scale(NamedTuple):
    """How the values of a metric are to be read."""

    title: str
    better: Literal["higher", "lower", "nearer"]  # nearer to the photograph's own value
    digits: int


SCALES = {
    "psnr": Scale("PSNR (dB)", "higher", 2),
    "ssim": Scale("SSIM", "higher", 4),
    "ms_ssim": Scale("MS-SSIM", "higher", 4),
    "ciede2000": Scale("CIEDE2000", "lower", 2),
    "colorfulness": Scale("colorfulness", "nearer", 2),
    "delta_colorfulness": Scale("ΔCF", "lower", 2),
    "auc": Scale("AuC (%)", "higher", 2),
    "auc_rebalanced": Scale("AuC rebalanced (%)", "higher", 2),
    "ab_rmse": Scale("ab RMSE", "lower", 2),
    "lite0_distance": Scale("Lite0 distance", "lower", 4),
    "lite0_kid": Scale("Lite0 KID", "lower", 4),
    "lite0_agreement": Scale("Lite0 agreement (%)", "higher", 1),
    "lpips": Scale("LPIPS", "lower", 4),
    "fid": Scale("FID", "lower", 2),
    "kid": Scale("KID", "lower", 4),
}
"""Every metric colorlab knows, in the order of its tables."""


def direction(name: str) -> Literal["min", "max"] | None:
    """Return whether a logged value should fall or rise; None if neither is better or the name is unknown.

    Args:
        name: of a metric or "loss", with or without a stage: "psnr", "val/psnr", "val/loss".
    """
    metric = name.rpartition("/")[2]
    if metric == "loss":
        return "min"
    better = SCALES[metric].better if metric in SCALES else "nearer"
    return "max" if better == "higher" else "min" if better == "lower" else None


def goodness(metric: str, value: float, true: float) -> float:
    """A value turned so that higher is better, given the photograph's own value."""
    better = SCALES[metric].better
    return value if better == "higher" else -value if better == "lower" else -abs(value - true)


Name = Literal["psnr", "ssim", "ms_ssim", "ciede2000", "colorfulness", "auc", "ab_rmse"]
"""The metrics that need nothing but the pictures."""

ON_PICTURES: tuple[Name, ...] = get_args(Name)
IN_TRAINING: tuple[Name, ...] = ("psnr", "ssim", "ciede2000", "colorfulness")

_MEASURES: dict[str, Callable[[Colored], Tensor]] = {
    function.__name__: function for function in (psnr, ssim, ms_ssim, ciede2000, colorfulness, auc, ab_rmse)
}


def check_names(names: Iterable[str]) -> None:
    """Say so if one of these is no metric.

    Raises:
        UserError: one is unknown.
    """
    for name in names:
        if name not in SCALES:
            raise UserError(f"metrics={name} is not a metric: {did_you_mean(str(name), SCALES)}")


def measure(colored: Colored, names: Iterable[Name] = ON_PICTURES) -> dict[str, Tensor]:
    """The values of these metrics, {name: [B] float32}."""
    with torch.no_grad(), exact(colored.lightness.device):
        return {name: _MEASURES[name](colored) for name in names}


def scores(
    lightness: Tensor, predicted: Tensor, true: Tensor, names: Iterable[Name] = IN_TRAINING
) -> dict[str, Tensor]:
    """Judge each predicted picture, with what the numbers are to be read against.

    Args:
        lightness: L, [B, 1, H, W] in 0..100.
        predicted, true: ab, [B, 2, H, W] in -128..127.
        names: of the metrics.

    Returns:
        The metrics; beside PSNR psnr_gray, that of the gray picture (the score of a network that
        learned nothing), beside colorfulness colorfulness_true, the photograph's. Each is [B] float32.
    """
    names = list(names)
    if len(lightness) > 1 and lightness.device.type == "cpu":  # one by one they fit the cache: twice as fast
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
