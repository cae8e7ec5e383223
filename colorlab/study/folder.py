"""A study's folder: what lies where in it. Imports nothing heavy."""

import json
from pathlib import Path
from typing import Any

from colorlab.files import write_text


class StudyFolder:
    """The folder of a study.

        study.json         what it depends on: checkpoints, photographs, how many pairs, versions
        pictures/          the photographs and their fakes
        answers.sqlite     who was asked what, and what they answered
        report.json, …     what came out, written by --report

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pictures = path / "pictures"
        self.answers = path / "answers.sqlite"
        self._facts = path / "study.json"

    def facts(self) -> dict[str, Any] | None:
        """What the study depends on; None if there is no study here."""
        return json.loads(self._facts.read_text(encoding="utf-8")) if self._facts.is_file() else None

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Keep what the study depends on; last of all, when its pictures are whole."""
        write_text(self._facts, json.dumps(facts, indent=2, ensure_ascii=False))
