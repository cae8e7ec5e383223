"""Judge trained models on photographs: `python -m colorlab.evaluate checkpoint=PATH[,PATH…] data.root=PHOTOS`."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from colorlab.command_line import as_list, quiet_libraries, run
from colorlab.config import check, check_arguments, check_filing, plain
from colorlab.errors import UserError

if TYPE_CHECKING:
    from lightning import Trainer

    from colorlab.data import ColorDataModule
    from colorlab.evaluate.contestants import Contestant
    from colorlab.evaluate.estimates import Report
    from colorlab.evaluate.evaluator import Evaluator

GROUPS = ("data", "trainer", "logger", "run")


@dataclass
class Settings:
    """What is judged, and how.

    Args:
        checkpoint: files, or run folders, which stand for their best checkpoint.
        protocol: pictures stretched to 256×256, or at their own size.
        split: which of the photographs; test is what a model trained on this data group has not seen.
        metrics: their names; None for all that can be had.
        prior: a file of `colorlab.prior` for the rebalanced AuC; None counts the pictures judged.
        alexnet, inception: weights of LPIPS, and of FID and KID; None looks into torch's cache.
        against: an evaluation.json; the end says whether the same runs, trained again, do as well.
    """

    checkpoint: list[str]
    protocol: Literal["stretch256", "native"] = "stretch256"
    split: Literal["train", "val", "test", "all"] = "test"
    metrics: list[str] | None = None
    prior: str | None = None
    alexnet: str | None = None
    inception: str | None = None
    against: str | None = None


def evaluate(cfg: dict[str, Any], folder: Path) -> "Report | None":
    """Judge checkpoints and the baselines gray and true on the same photographs.

    Args:
        cfg: the resolved configuration, in plain containers.
        folder: where the results go.

    Returns:
        The report, in the first process; None in the others.

    Raises:
        UserError: the configuration, a checkpoint or the photographs cannot be used.
    """
    top = {key: value for key, value in cfg.items() if key not in GROUPS}
    settings: Settings = check_arguments(Settings, top).build()
    check_filing(cfg["run"])
    plans = {key: check(cfg[key], key) for key in ("data", "trainer")}
    loggers = [check(node, f"logger.{name}") for name, node in (cfg["logger"] or {}).items() if node]
    from lightning.pytorch.utilities import rank_zero_only

    quiet_libraries()
    from colorlab.evaluate.contestants import fix_reading, read_contestants
    from colorlab.evaluate.estimates import summarize
    from colorlab.evaluate.evaluator import trainer_of
    from colorlab.evaluate.report import read_report

    written = read_report(Path(settings.against).expanduser()) if settings.against else None
    contestants = read_contestants(settings.checkpoint)
    fix_reading(plans["data"].arguments, settings.protocol)
    data: ColorDataModule = plans["data"].build()
    evaluator, facts = _prepare(settings, contestants, data)
    trainer = trainer_of(plans["trainer"], folder, [logger.build() for logger in loggers])
    trainer.predict(evaluator, data.reader(settings.split), return_predictions=False)
    if rank_zero_only.rank != 0:
        return None
    if not len(evaluator.index):
        raise UserError(f"{data.root} holds no photograph with color to judge by (split={settings.split}).")
    facts |= {
        "pictures": len(evaluator.index), "left_out_pictures": len(data.skipped),
        "precision": trainer.precision, "device": _device(trainer),
    }  # fmt: skip
    report = summarize(evaluator, facts)
    _conclude(report, evaluator, trainer, folder)
    if written:
        from colorlab.evaluate.against import compare

        print("\n".join(compare(report, written, settings.against)), flush=True)
    return report


def _prepare(
    settings: Settings, contestants: "list[Contestant]", data: "ColorDataModule"
) -> "tuple[Evaluator, dict[str, Any]]":
    """The evaluator, and what its numbers will depend on."""
    from colorlab.data.color_histogram import cached_prior
    from colorlab.data.photographs import content_fingerprint
    from colorlab.evaluate.estimates import versions
    from colorlab.evaluate.evaluator import Evaluator
    from colorlab.metrics.suite import MetricSuite

    files = data.files(settings.split)
    if not files:
        raise UserError(f"split={settings.split} of {data.root} is empty ({data.summary()}); split=all takes all.")
    prior = Path(settings.prior).expanduser() if settings.prior else cached_prior(data, settings.split)
    suite = MetricSuite(settings.metrics, prior, settings.alexnet, settings.inception)
    evaluator = Evaluator(contestants, data, data.reader(settings.split).dataset, suite)
    facts = {
        "protocol": settings.protocol, "root": str(data.root), "split": settings.split,
        "fingerprint": content_fingerprint(data.root, files), "left_out": suite.left_out,
        "prior": f"the colors of {settings.prior or 'the pictures judged'}",
        "checkpoints": {each.name: {"checkpoint": str(each.checkpoint), "sha256": each.sha256} for each in contestants},
        "versions": versions(),
    }  # fmt: skip
    return evaluator, facts


def _device(trainer: "Trainer") -> str:
    import torch

    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _conclude(report: "Report", evaluator: "Evaluator", trainer: "Trainer", folder: Path) -> None:
    """Show the table, write the files, tell the tracker."""
    from rich.console import Console

    from colorlab.evaluate.report import describe, print_tables, rows_of, write
    from colorlab.loggers import log_picture, log_table

    pictures = write(report, evaluator, folder)
    console = Console()
    print_tables(report, console)
    for line in (*describe(report), evaluator.data.summary()):
        print(line)
    print(f"results: {os.path.relpath(folder)} (evaluation.csv .json .md .png, pictures.csv, sheets/)", flush=True)
    numbers = {
        f"{model}/{metric}": estimate.value
        for model, estimates in report.estimates.items()
        for metric, estimate in estimates.items()
    }
    for logger in trainer.loggers:
        logger.log_hyperparams(report.facts)
        logger.log_metrics(numbers, step=0)
    log_table(trainer.loggers, "evaluation/table", rows_of(report))
    for picture in pictures:
        log_picture(trainer.loggers, f"evaluation/{picture.stem}", picture, step=0)


def _job(cfg: DictConfig) -> None:
    from colorlab.loggers import finish_tracker

    failed = True
    try:
        evaluate(plain(cfg), Path(HydraConfig.get().runtime.output_dir))
        failed = False
    finally:
        finish_tracker(failed)


def main() -> None:
    """Entry point of `colorlab-evaluate`."""
    sys.argv[1:] = as_list(sys.argv[1:], "checkpoint")
    sys.argv[1:] = as_list(sys.argv[1:], "metrics")
    run("evaluate", _job, (*Settings.__annotations__, *GROUPS))


if __name__ == "__main__":
    main()
