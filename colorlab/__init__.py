"""colorlab: train and compare networks that color gray photographs."""

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> object:
    """Import `load`, and with it torch, at its first use, so that `--help` stays fast."""
    if name == "load":
        from colorlab.models.weights import load

        return load
    raise AttributeError(f"module 'colorlab' has no attribute {name!r}")
