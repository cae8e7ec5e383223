"""Curves: the metrics of a run over its epochs, in one picture."""

from pathlib import Path

from lightning import Callback, Trainer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from colorlab.files import optional_file
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
                draw_curves(read_metrics(folder), folder.curves)


def draw_curves(metrics: dict[str, dict[int, float]], path: Path) -> None:
    """Draw metrics, {name: {epoch: value}}, over the epochs, and save the picture."""
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
        if axes.lines:
            axes.legend(frameon=False)
    figure.savefig(path, dpi=100)
