"""The files of a study's folder. Imports nothing heavy."""

from pathlib import Path
from typing import Any

from colorlab.errors import UserError
from colorlab.files import read_json, write_json

REQUIRED = ("practice", "counted", "vigilance", "checkpoints", "exposure", "photographs", "seed")
"""What study.json must hold."""


class StudyFolder:
    """The folder of a study.

        study.json         what the study depends on: checkpoints, photographs, number of pairs, versions
        pictures/          the photographs and their fakes
        answers.sqlite     participants, trials and answers
        report.json, …     the results, written by --report

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.pictures = path / "pictures"
        self.answers = path / "answers.sqlite"
        self._facts = path / "study.json"

    def facts(self) -> dict[str, Any] | None:
        """Return what the study depends on; None if the folder holds no study.

        Raises:
            UserError: the file cannot be read.
        """
        facts = read_json(self._facts)
        if facts is not None and (missing := [key for key in REQUIRED if key not in facts]):
            raise UserError(f"{self._facts} is not complete: it has no {missing[0]}.")
        return facts

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Write what the study depends on; call it last, when all pictures are written."""
        write_json(self._facts, facts)
