"""Colorfulness of the predicted pictures, as a reward."""

from torch import Tensor

from colorlab.metrics.per_picture import colorfulness_of
from colorlab.objectives.objective import ColorBatch, Objective, Prediction


class Colorfulness(Objective):
    """Minus the mean colorfulness of the predicted pictures, for RGB in 0..1: the metric `colorfulness` over −255.

    It is one term of a sum: alone, it makes pictures as colorful as sRGB allows. Predictions without any color get no
    gradient.

    Source: Kang et al., "DDColor", ICCV 2023, section 3.4. Its released code takes |R − G| and |(R + G)/2 − B| and
    adds the pictures up; the signed differences of the metric, and the mean, are our choice.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, prediction: Prediction, batch: ColorBatch) -> Tensor:
        return -colorfulness_of(prediction.rgb(batch.L)).mean() / 255
