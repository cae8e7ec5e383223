"""Ask people which picture is the fake: `python -m colorlab.study checkpoint=PATH[,PATH…] data.root=PHOTOS`."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from colorlab.command_line import quiet_libraries, run
from colorlab.config import check, check_arguments, check_filing, kind_of, plain
from colorlab.config.words import as_list
from colorlab.errors import UserError, how_to_install
from colorlab.study.folder import StudyFolder
from colorlab.study.settings import GROUPS, Settings
from colorlab.web.serving import listen


def _serve(settings: Settings, facts: dict[str, Any], folder: StudyFolder) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: the port is taken.
    """
    from colorlab.study.database import StudyDatabase
    from colorlab.study.people import People
    from colorlab.study.server import Study, make_app
    from colorlab.study.trials import Protocol

    protocol = Protocol(facts["practice"], facts["counted"], facts["vigilance"])
    if (protocol.practice, protocol.counted) != (settings.practice, settings.counted):
        pairs = f"{protocol.practice} pairs for practice and {protocol.counted} that count"
        print(f"This study asks {pairs}, of {len(facts['photographs'])} photographs.")
    with listen(settings.host, settings.port, "port=0 finds one.") as listening:
        database = StudyDatabase(folder.answers)
        photographs, models = sorted(map(int, facts["photographs"])), list(facts["checkpoints"])
        people = People(settings.people_per_address)
        study = Study(
            database, folder.pictures, protocol, photographs, models, facts["exposure"], facts["seed"], people
        )
        print(f"The study is at {listening.address} — Ctrl-C ends it, and nothing is lost.", flush=True)
        try:
            listening.serve(make_app(study, listening.hosts))
        finally:
            database.close()
    print(f"\nThe report: python -m colorlab.study --report out={os.path.relpath(folder.path)}")


def _report(folder: StudyFolder, logger: dict[str, Any] | None) -> None:
    """Print the results, write them to the folder and send them to the tracker.

    Raises:
        UserError: the folder holds no study, or nobody has answered.
    """
    facts = folder.facts()
    if facts is None:
        raise UserError(f"out={folder.path} holds no study.")
    from rich.console import Console

    from colorlab.loggers import log_picture
    from colorlab.study.database import StudyDatabase
    from colorlab.study.report import table_of, write

    database = StudyDatabase(folder.answers)
    answers, finished = database.answers(), database.finished()
    database.close()
    if not answers:
        raise UserError(f"Nobody has answered in {folder.path} yet.")
    plans = [check(node, f"logger.{name}", kind=kind_of("logger")) for name, node in (logger or {}).items() if node]
    loggers = [plan.build() for plan in plans]
    report, sheets = write(answers, finished, facts, folder.path)
    Console().print(table_of(report))
    left_out = (
        f"{report['unfinished']} who left early, {report['inattentive']} inattentive, {report['mistimed']} answers to"
        " pairs seen too long or briefly"
    )
    print(f"participants: {report['participants']}; left out: {left_out}; guessing fools 50 %")
    print(f"results: {os.path.relpath(folder.path)} (report.json .csv, pictures.csv, most and least convincing .png)")
    for each in loggers:
        each.log_hyperparams({key: value for key, value in report.items() if key != "models"})
        each.log_metrics({f"{name}/fooling_rate": rate["value"] for name, rate in report["models"].items()}, step=0)
    for sheet in sheets:
        log_picture(loggers, f"study/{sheet.stem}", sheet, step=0)


def _job(cfg: DictConfig) -> None:
    failed = True
    try:
        if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn")):
            raise UserError(f"A study needs fastapi and uvicorn: {how_to_install('study')}.")
        content = plain(cfg)
        top = {key: value for key, value in content.items() if key not in GROUPS}
        settings: Settings = check_arguments(Settings, top).build()
        check_filing(content["run"])
        folder = StudyFolder(Path(settings.out).expanduser())
        if settings.report:
            _report(folder, content["logger"])
        else:
            quiet_libraries()
            from colorlab.study.preparation import prepare

            _serve(settings, prepare(settings, content, folder), folder)
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
