"""One evaluation, from the configuration to the results."""

import os
from pathlib import Path
from typing import Any, cast

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from colorlab.config import check, check_arguments, check_filing, kind_of
from colorlab.data import ColorDataModule
from colorlab.data.color_histogram import cached_prior
from colorlab.data.photographs import Photographs
from colorlab.data.splits import Part, content_fingerprint
from colorlab.errors import UserError, printable
from colorlab.evaluate.estimates import Report, summarize
from colorlab.evaluate.evaluator import Evaluator
from colorlab.evaluate.named_models import checkpoints_of, load_models
from colorlab.evaluate.predictor import trainer_of
from colorlab.evaluate.protocol import with_protocol
from colorlab.evaluate.report import describe, print_tables, read_report, rows_of, write
from colorlab.evaluate.reproduction import compare
from colorlab.evaluate.settings import GROUPS, Settings
from colorlab.loggers import log_picture, log_table
from colorlab.metrics.suite import MetricSuite
from colorlab.runs.origin import versions


def evaluate(cfg: dict[str, Any], folder: Path) -> Report | None:
    """Evaluate checkpoints and the baselines gray and true on the same photographs.

    Args:
        cfg: the resolved configuration, in plain containers.
        folder: where the results are written.

    Returns:
        The report in the first process; None in the others.

    Raises:
        UserError: the configuration, a checkpoint or the photographs cannot be used.
    """
    settings: Settings = check_arguments(Settings, {k: v for k, v in cfg.items() if k not in GROUPS}).build()
    check_filing(cfg["run"])
    data_plan, trainer_plan = (check(cfg[key], key, kind=kind_of(key)) for key in ("data", "trainer"))
    kind = kind_of("logger")
    loggers = [check(node, f"logger.{name}", kind=kind) for name, node in (cfg["logger"] or {}).items() if node]
    written = read_report(Path(settings.against).expanduser()) if settings.against else None
    models = load_models(settings.checkpoint)
    data: ColorDataModule = with_protocol(data_plan, settings.protocol).build()
    files = files_of(data, settings.split)
    prior = Path(settings.prior).expanduser() if settings.prior else cached_prior(data, settings.split)
    suite = MetricSuite(settings.metrics, prior, settings.alexnet, settings.inception)
    loader = data.reader(settings.split)
    evaluator = Evaluator(models, data, cast(Photographs, loader.dataset), suite)
    trainer = trainer_of(trainer_plan, folder, [logger.build() for logger in loggers])
    trainer.predict(evaluator, loader, return_predictions=False)
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # Lightning sets it on the function
        return None
    if not len(evaluator.index):
        raise UserError(f"{data.root} holds no photograph with color to judge by (split={settings.split}).")
    facts = {
        "protocol": settings.protocol, "root": str(data.root), "split": settings.split,
        "fingerprint": content_fingerprint(data.root, files), "left_out": suite.left_out,
        "prior": f"the colors of {settings.prior or 'the pictures judged'}",
        "checkpoints": checkpoints_of(models), "versions": versions(),
        "pictures": len(evaluator.index), "left_out_pictures": len(data.skipped.reasons),
        "precision": trainer.precision, "device": _device(trainer),
    }  # fmt: skip
    report = summarize(evaluator, facts)
    _publish(report, evaluator, trainer, folder)
    if settings.against and written:
        print("\n".join(map(printable, compare(report, written, settings.against))), flush=True)
    return report


def files_of(data: ColorDataModule, split: Part) -> list[str]:
    """Return the names of a split's photographs.

    Raises:
        UserError: there are none.
    """
    files = list(data.files(split))
    if not files:
        raise UserError(f"split={split} of {data.root} is empty ({data.summary()}); split=all takes all.")
    return files


def _device(trainer: Trainer) -> str:
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _publish(report: Report, evaluator: Evaluator, trainer: Trainer, folder: Path) -> None:
    """Write the files, print the tables and send both to the tracker."""
    pictures = write(report, evaluator, folder)
    print_tables(report, Console())
    for line in (*describe(report), evaluator.data.summary()):
        print(printable(line))
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
