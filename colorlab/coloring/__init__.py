"""Coloring pictures of any size with a trained model: the network sees them small, their own L stays as it is."""

from colorlab.coloring.picture import colorize

__all__ = ["colorize"]
