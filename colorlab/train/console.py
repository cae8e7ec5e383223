"""What a training prints: its configuration at the start, its results at the end."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorlab.files import relative
from colorlab.runs.folder import RunFolder
from colorlab.runs.origin import differences, keep_origin
from colorlab.train.experiment import Experiment

if TYPE_CHECKING:
    from lightning import Trainer

    from colorlab.data import ColorDataModule


def announce(experiment: Experiment, folder: RunFolder, command: str, data: "ColorDataModule") -> None:
    """Keep the run's origin, and print its configuration, its photographs, and what differs in a reproduction."""
    settings = experiment.settings
    origin = keep_origin(folder, command, settings.seed, data.fingerprints())
    _print_tree(experiment.configuration(), str(folder.path))
    print(data.summary(), flush=True)
    if settings.reproduce:
        lines = differences(folder, RunFolder(settings.reproduce), origin)
        for line in lines or ["none that is known"]:
            print(f"differs from {settings.reproduce}: {line}", flush=True)


def conclude(
    trainer: "Trainer", data: "ColorDataModule", folder: RunFolder, best: Path | None, score: float | None
) -> None:
    """Print the test's scores and where the results are, and tell the tracker which checkpoint is the best."""
    import wandb

    from colorlab.loggers import log_best

    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    lines = [data.summary()]
    if "test/psnr" in metrics:
        gray = metrics["test/psnr_gray"]
        lines.append(f"PSNR on the test photographs: {metrics['test/psnr']:.2f} dB (gray picture: {gray:.2f} dB)")
    if "test/colorfulness" in metrics:
        colorful, true = metrics["test/colorfulness"], metrics["test/colorfulness_true"]
        lines.append(f"colorfulness of them: {colorful:.1f} (true pictures: {true:.1f})")
    places = {"comparison picture": folder.newest_sheet(), "best checkpoint": best, "curves": folder.curves}
    lines += [f"{name}: {relative(path)}" for name, path in places.items() if path and path.exists()]
    log_best(trainer.loggers, str(best or ""), getattr(trainer.checkpoint_callback, "monitor", None), score)
    if wandb.run is not None and wandb.run.offline:
        parts = Path(wandb.run.dir).parents[1]  # a resumed run has several
        lines.append(f"upload to wandb: wandb sync {shlex.quote(relative(parts))}/offline-run-*")
    print("\n".join(lines), flush=True)


def _print_tree(cfg: dict[str, Any], title: str) -> None:
    """Print nested dictionaries as a tree."""
    import rich
    from rich.markup import escape
    from rich.tree import Tree

    def grow(tree: Tree, node: dict[str, Any]) -> Tree:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                grow(tree.add(f"[bold]{key}"), value)
            else:
                tree.add(f"{key}: [cyan]{escape(str(value))}")
        return tree

    rich.print(grow(Tree(f"[bold]{escape(title)}"), cfg))
