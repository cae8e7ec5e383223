"""Curves: the metrics of a run over its epochs, in one picture."""

import math
from pathlib import Path

from lightning import Callback, Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from colorlab.files import optional_file
from colorlab.metrics import direction
from colorlab.models.colorizer import Colorizer
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics

PANELS = (
    ("loss", "linear", ("train/loss", "val/loss")),
    ("PSNR, dB", "linear", ("val/psnr", "val/psnr_gray")),
    ("colorfulness", "linear", ("val/colorfulness", "val/colorfulness_true")),
    ("learning rate, weight decay", "log", ("optim/lr", "optim/weight_decay")),
)


class Curves(Callback):
    """Draw `curves.png` from the run's `metrics.csv` at the end of training."""

    def on_fit_end(self, trainer: Trainer, model: Colorizer) -> None:
        folder = RunFolder(trainer.default_root_dir)
        if trainer.is_global_zero and folder.metrics.exists():
            with optional_file(folder.curves):
                draw_curves(read_metrics(folder), folder.curves, getattr(trainer.checkpoint_callback, "monitor", None))


def draw_curves(metrics: dict[str, dict[int, float]], path: Path, monitor: str | None = None) -> None:
    """Draw metrics, {name: {epoch: value}}, over the epochs, and save the picture.

    Args:
        metrics: the metrics.
        path: the picture.
        monitor: the metric whose best epoch is marked; None marks none.
    """
    best = _best_epoch(metrics.get(monitor, {}), direction(monitor)) if monitor else None
    figure = Figure(figsize=(16, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (label, scale, names) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for name in names:
            if values := metrics.get(name):
                marker = "o" if len(values) == 1 else None
                axes.plot(list(values), list(values.values()), label=name, marker=marker)
        positive = any(value > 0 for name in names for value in metrics.get(name, {}).values())
        axes.set(xlabel="epoch", ylabel=label, yscale=scale if positive else "linear")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if best is not None and axes.lines:
            axes.axvline(best, color="tab:green", linestyle=":", label=f"best {monitor}, epoch {best}")
        if axes.lines:
            axes.legend(frameon=False)
    figure.savefig(path, dpi=100)


def _best_epoch(values: dict[int, float], better: str | None) -> int | None:
    """Return the epoch of the best value; None if there is none, or it is not known which is better."""
    finite = {epoch: value for epoch, value in values.items() if math.isfinite(value)}
    if not finite or better is None:
        return None
    return (max if better == "max" else min)(finite, key=finite.__getitem__)
