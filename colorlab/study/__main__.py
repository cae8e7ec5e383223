"""Ask people which one is the fake: `python -m colorlab.study checkpoint=PATH[,PATH…] data.root=PHOTOS`."""

import importlib.util
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from colorlab.command_line import as_list, quiet_libraries, run
from colorlab.config import check, check_arguments, check_filing, plain
from colorlab.errors import UserError
from colorlab.study.folder import StudyFolder
from colorlab.web.serving import listen

GROUPS = ("data", "trainer", "logger", "run")


@dataclass
class Settings:
    """A study and how it is served.

    Args:
        checkpoint: files or run folders, whose pictures are the fakes; a study that goes on needs none.
        out: the study's folder; one that holds a study goes on as it began, with its pairs and answers.
        report: tell what was answered, in place of asking.
        protocol: native shows pictures in their own shape.
        split: which of the photographs.
        pictures: how many of them at most.
        practice, counted: pairs each person sees.
        vigilance: the share of the counted pairs whose fake has random colors.
        exposure: how long a pair is shown, in seconds.
        host, port: where the page is served; port 0 takes a free one.
        seed: another one chooses other photographs and draws other pairs.
    """

    out: str
    checkpoint: list[str] | None = None
    report: bool = False
    protocol: Literal["stretch256", "native"] = "native"
    split: Literal["train", "val", "test", "all"] = "test"
    pictures: int = 200
    practice: int = 10
    counted: int = 40
    vigilance: float = 0.1
    exposure: float = 1.0
    host: str = "127.0.0.1"
    port: int = 8000
    seed: int = 0

    def __post_init__(self) -> None:
        bounds = {
            "pictures": (1, 100_000), "practice": (0, 1000), "counted": (1, 1000), "vigilance": (0, 0.5),
            "exposure": (0.05, 60), "port": (0, 65_535),
        }  # fmt: skip
        for key, (low, high) in bounds.items():
            if not low <= getattr(self, key) <= high:
                raise UserError(f"{key}={getattr(self, key)} must lie between {low} and {high}.")


def prepare(settings: Settings, cfg: dict[str, Any], folder: StudyFolder) -> dict[str, Any]:
    """Paint the pictures of a new study, or go on with the one in the folder; what it depends on.

    Raises:
        UserError: the configuration, a checkpoint or the photographs cannot be used, too few of them have
            color, or the folder holds a study of other models.
    """
    facts = folder.facts()
    if facts is None and not settings.checkpoint:
        raise UserError("checkpoint is missing: add checkpoint=… to the command.")
    quiet_libraries()
    from colorlab.evaluate.contestants import fix_reading, read_contestants

    contestants = read_contestants(settings.checkpoint or [])
    entered = {each.name: {"checkpoint": str(each.checkpoint), "sha256": each.sha256} for each in contestants}
    if facts is not None:
        held = {each["sha256"] for each in facts["checkpoints"].values()}
        if contestants and {each.sha256 for each in contestants} != held:
            raise UserError(
                f"out={folder.path} holds a study of {', '.join(facts['checkpoints'])}: give another out=…."
            )
        return facts
    from colorlab.data.photographs import content_fingerprint
    from colorlab.evaluate.estimates import versions
    from colorlab.evaluate.evaluator import trainer_of
    from colorlab.study.pictures import Painter
    from colorlab.study.store import fit_protocol

    plans = {key: check(cfg[key], key) for key in ("data", "trainer")}
    fix_reading(plans["data"].arguments, settings.protocol)
    plans["trainer"].arguments |= {"devices": 1, "num_nodes": 1, "strategy": "auto"}  # every process would serve
    data = plans["data"].build()
    files = data.files(settings.split)
    if not files:
        raise UserError(f"split={settings.split} of {data.root} is empty ({data.summary()}); split=all takes all.")
    chosen = sorted(random.Random(settings.seed).sample(files, min(settings.pictures, len(files))))
    loader = data.reader_of(chosen)
    folder.pictures.mkdir(parents=True, exist_ok=True)
    painter = Painter(contestants, data, loader.dataset, folder.pictures)
    trainer = trainer_of(plans["trainer"], folder.path, loggers=[])
    trainer.predict(painter, loader, return_predictions=False)
    count = len(painter.painted)
    asked = fit_protocol(settings.practice, settings.counted, settings.vigilance, count)
    if asked.counted - asked.vigilance < 1:
        raise UserError(f"{count} photographs with color are too few for a study.")
    facts = {
        **vars(asked), "seed": settings.seed,
        "checkpoints": entered, "protocol": settings.protocol, "exposure": settings.exposure,
        "root": str(data.root), "split": settings.split, "fingerprint": content_fingerprint(data.root, chosen),
        "photographs": {place: chosen[place] for place in sorted(painter.painted)}, "versions": versions(),
    }  # fmt: skip
    folder.write_facts(facts)
    return facts


def serve(settings: Settings, facts: dict[str, Any], folder: StudyFolder) -> None:
    """Serve the page until it is ended with Ctrl-C.

    Raises:
        UserError: the port is taken.
    """
    from colorlab.study.server import make_app
    from colorlab.study.store import Protocol, Store

    protocol = Protocol(facts["practice"], facts["counted"], facts["vigilance"])
    if (protocol.practice, protocol.counted) != (settings.practice, settings.counted):
        pairs = f"{protocol.practice} pairs for practice and {protocol.counted} that count"
        print(f"This study asks {pairs}, of {len(facts['photographs'])} photographs.")
    with listen(settings.host, settings.port, "port=0 finds one.") as listening:
        store = Store(folder.answers)
        photographs, models = sorted(map(int, facts["photographs"])), list(facts["checkpoints"])
        app = make_app(
            store, folder.pictures, protocol, photographs, models, facts["exposure"], facts["seed"], listening.hosts
        )
        print(f"The study is at {listening.address} — Ctrl-C ends it, and nothing is lost.", flush=True)
        try:
            listening.serve(app)
        finally:
            store.close()
    print(f"\nThe report: python -m colorlab.study --report out={os.path.relpath(folder.path)}")


def tell(folder: StudyFolder, logger: dict[str, Any] | None) -> None:
    """Show and write what was answered, and send it to the tracker.

    Raises:
        UserError: there is no study in the folder, or nobody has answered.
    """
    facts = folder.facts()
    if facts is None:
        raise UserError(f"out={folder.path} holds no study.")
    from rich.console import Console

    from colorlab.loggers import log_picture
    from colorlab.study.report import table_of, write
    from colorlab.study.store import Store

    store = Store(folder.answers)
    answers = store.answers()
    store.close()
    if not answers:
        raise UserError(f"Nobody has answered in {folder.path} yet.")
    loggers = [check(node, f"logger.{name}").build() for name, node in (logger or {}).items() if node]
    report, sheets = write(answers, facts, folder.path)
    Console().print(table_of(report))
    left_out = f"{report['inattentive']} inattentive, {report['mistimed']} answers to pairs seen too long or briefly"
    print(f"participants: {report['participants']}; left out: {left_out}; guessing fools 50 %")
    print(f"results: {os.path.relpath(folder.path)} (report.json .csv, pictures.csv, most and least convincing .png)")
    for each in loggers:
        each.log_hyperparams({key: value for key, value in report.items() if key != "models"})
        each.log_metrics({f"{name}/fooling_rate": rate["value"] for name, rate in report["models"].items()}, step=0)
    for sheet in sheets:
        log_picture(loggers, f"study/{sheet.stem}", sheet, step=0)


def _job(cfg: DictConfig) -> None:
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    failed = True
    try:
        if missing:
            raise UserError("A study needs fastapi and uvicorn: pip install 'colorlab[study]'.")
        content = plain(cfg)
        top = {key: value for key, value in content.items() if key not in GROUPS}
        settings: Settings = check_arguments(Settings, top).build()
        check_filing(content["run"])
        folder = StudyFolder(Path(settings.out).expanduser())
        if settings.report:
            tell(folder, content["logger"])
        else:
            serve(settings, prepare(settings, content, folder), folder)
        failed = False
    finally:
        if (loggers := sys.modules.get("colorlab.loggers")) is not None:
            loggers.finish_tracker(failed)


def main() -> None:
    """Entry point of `colorlab-study`."""
    words = ["report=true" if word == "--report" else word for word in sys.argv[1:]]
    sys.argv[1:] = as_list(words, "checkpoint")
    run("study", _job, (*Settings.__annotations__, *GROUPS))


if __name__ == "__main__":
    main()
