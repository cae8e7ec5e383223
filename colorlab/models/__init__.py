"""The networks: one architecture a file, all of them Colorizers."""

from colorlab.models.colorizer import Colorizer
from colorlab.models.cunet import CUNet
from colorlab.models.eccv16 import ECCV16

__all__ = ["ECCV16", "CUNet", "Colorizer"]
