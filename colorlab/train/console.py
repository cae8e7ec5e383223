"""What a training prints: its configuration at the start, its results at the end."""

import inspect
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorlab.command_line import python_command
from colorlab.config import Plan
from colorlab.config.words import as_typed
from colorlab.errors import printable
from colorlab.files import relative
from colorlab.runs.folder import RunFolder
from colorlab.runs.origin import differences, keep_origin
from colorlab.runs.status import Status
from colorlab.train.experiment import PLANS, Experiment

if TYPE_CHECKING:
    from lightning import Trainer

    from colorlab.data import ColorDataModule

WIDTH = 120
"""Characters after which a line of the configuration is shortened."""


def announce(experiment: Experiment, folder: RunFolder, status: Status, data: "ColorDataModule") -> None:
    """Keep the run's origin, and print its configuration, its photographs, and what differs in a reproduction."""
    settings = experiment.settings
    origin = keep_origin(folder, status.command, settings.seed, data.fingerprints())
    print("\n".join([*_configuration(experiment, folder, status.overrides), data.summary()]), flush=True)
    if settings.reproduce:
        lines = differences(folder, RunFolder(settings.reproduce), origin)
        for line in lines or ["none that is known"]:
            print(printable(f"differs from {settings.reproduce}: {line}"), flush=True)


def conclude(
    trainer: "Trainer",
    data: "ColorDataModule",
    folder: RunFolder,
    best: Path | None,
    score: float | None,
    in_sweep: bool,
) -> None:
    """Print the test's scores, where the results are and what to do with them; tell the tracker the best checkpoint."""
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
    if best and not in_sweep:
        command, run = f"{python_command()} -m colorlab", shlex.quote(relative(folder.path))
        lines += [
            "color your pictures, or open a web page that does:",
            f"  {command}.colorize PICTURES --checkpoint {run} -o colored",
            f"  {command}.demo {run}",
        ]
    print("\n".join(lines), flush=True)


def _configuration(experiment: Experiment, folder: RunFolder, overrides: list[str]) -> list[str]:
    """Return the run's folder, the overrides, and a line per object with the arguments that are not its defaults."""
    lines = [f"{'run folder:':12}{relative(folder.path)} (config.yaml there is the whole configuration)"]
    if overrides:
        lines.append(f"{'overrides:':12}{' '.join(map(as_typed, overrides))}")
    for group in PLANS:
        words = [_described(getattr(experiment, group)), *_words(experiment.switches(group))]
        lines.append(f"{f'{group}:':12}{', '.join(words)}")
    lines = list(map(printable, lines))
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 2]} …" for line in lines]


def _described(plan: Plan) -> str:
    """Return the name of what a plan builds, and its arguments that are not defaults."""
    parameters = inspect.signature(plan.target).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    given = {key: value for key, value in plan.arguments.items() if key not in defaults or value != defaults[key]}
    return ", ".join([plan.target.__name__, *_words(given)])


def _words(arguments: dict[str, Any]) -> list[str]:
    return [
        f"{key}={f'({_described(value)})' if isinstance(value, Plan) else value}" for key, value in arguments.items()
    ]
