"""Encoders: ImageNet classifiers whose feature maps a decoder colors from."""

from colorlab.encoders.encoder import Encoder, build_encoder
from colorlab.encoders.lite0 import Lite0, Lite0Classifier

__all__ = ["Encoder", "Lite0", "Lite0Classifier", "build_encoder"]
