"""A metric of chroma."""

from torch import Tensor

from colorlab.metrics import Colored, PictureMetric


class ChromaError(PictureMetric):
    """The mean difference of chroma, the distance from gray, in CIE units."""

    name, title, direction = "chroma_error", "chroma error", "min"

    def __call__(self, colored: Colored) -> Tensor:
        chroma = [ab.norm(dim=1) for ab in (colored.predicted, colored.true)]
        return (chroma[0] - chroma[1]).abs().mean(dim=(1, 2))
