"""The networks: one file for each architecture, all of them subclasses of Colorizer."""

from colorlab.models.colorizer import Colorizer
from colorlab.models.cunet import CUNet
from colorlab.models.ddcolor import DDColor
from colorlab.models.eccv16 import ECCV16
from colorlab.models.siggraph17 import Siggraph17
from colorlab.models.unet import UNet

__all__ = ["ECCV16", "CUNet", "Colorizer", "DDColor", "Siggraph17", "UNet"]
