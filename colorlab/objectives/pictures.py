"""What objectives on RGB share: the true pictures, and the pictures that they take."""

from torch import Tensor
from torchvision.transforms.v2.functional import adjust_saturation

from colorlab.color import lab_to_rgb
from colorlab.errors import UserError
from colorlab.objectives.objective import ColorBatch


def check_target_color(factor: float) -> None:
    """Refuse a factor of the true colors that is negative.

    Raises:
        UserError: it is.
    """
    if factor < 0:
        raise UserError(f"target_color={factor:g} of the objective must be at least 0: 1 keeps the true colors.")


def true_picture(batch: ColorBatch, target_color: float = 1.0) -> Tensor:
    """Return the photographs of a batch, with stronger or weaker colors if asked for.

    Args:
        batch: the photographs.
        target_color: the factor of each pixel's difference from its gray, 0.2989 R + 0.587 G + 0.114 B; what leaves
            0..1 is clipped.

    Returns:
        rgb: [B, 3, H, W] float32 in 0..1, without a gradient.
    """
    rgb = lab_to_rgb(batch.L, batch.ab).detach()
    return rgb if target_color == 1 else adjust_saturation(rgb, target_color)


def check_size(rgb: Tensor, smallest: int, judge: str, remedy: str = "") -> None:
    """Refuse pictures that are too small for an objective's network.

    Args:
        rgb: pictures, or their L: [B, C, H, W].
        smallest: the side that H and W must have at least.
        judge: the network, for the message.
        remedy: what else can be done about it than enlarging the pictures.

    Raises:
        UserError: they are.
    """
    height, width = rgb.shape[-2:]
    if min(height, width) < smallest:
        raise UserError(
            f"{judge} needs pictures of at least {smallest}×{smallest}, not {height}×{width}: enlarge data.size or"
            f" data.augment.size{remedy}."
        )
