"""A run's folder: which file lies where, and what the small ones hold. Imports nothing heavy."""

import io
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colorlab.errors import UserError
from colorlab.files import read_json, write_json, write_text
from colorlab.runs.checkpoints import Checkpoints
from colorlab.runs.seal import sealed

LARGEST_YAML = 2**18
"""Bytes of the largest YAML file that is read: ours have a few thousand, and this many take five seconds."""


class RunFolder:
    """The folder that holds all of a run.

        config.yaml        the resolved configuration
        overrides.yaml     the overrides that the run was started with
        origin.json        what else its numbers depend on: code, versions, photographs, seed
        origin.diff        the uncommitted changes of the code, if there are any
        status.json        running, done, failed, interrupted or pruned, and why
        checkpoints/       the best ones by name, and last.ckpt
        comparison/        a contact sheet after each validation
        metrics.csv        one row per epoch
        curves.png         the same numbers as a picture
        prior.npz, .png    how often each color occurs, if the objective needs it
        nonfinite/         the batches of steps left out because a loss or gradient was not finite
        trackers.json      the addresses at which trackers show the run
        wandb_id, wandb/   files of the tracker; likewise tensorboard/, mlflow_id

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.config = self.path / "config.yaml"
        self.comparison = self.path / "comparison"
        self.nonfinite = self.path / "nonfinite"
        self.metrics = self.path / "metrics.csv"
        self.curves = self.path / "curves.png"
        self.prior = self.path / "prior.npz"
        self.wandb_id = self.path / "wandb_id"
        self.mlflow_id = self.path / "mlflow_id"
        self.trackers = self.path / "trackers.json"
        self.status_file = self.path / "status.json"
        self.decay_request = self.path / "decay.request"
        self._origin = self.path / "origin.json"
        self._diff = self.path / "origin.diff"
        self.overrides_file = self.path / "overrides.yaml"

    @classmethod
    def of(cls, checkpoint: Path) -> "RunFolder":
        """Return the folder of the run that wrote a checkpoint; its `checkpoints` may be a link to another disk."""
        for file in (Path(os.path.abspath(checkpoint)), checkpoint.resolve()):
            folder = cls(file.parent.parent.resolve())
            if folder.overrides_file.is_file():
                break
        return folder

    # -- configuration ----------------------------------------------------------------------------

    def overrides(self) -> list[str] | None:
        """Return the overrides that the run was started with; None if the folder holds no run.

        Raises:
            UserError: the file does not hold a list of overrides.
        """
        recorded = _read_yaml(self.overrides_file) if self.overrides_file.is_file() else None
        if not isinstance(recorded, list | None) or not all(isinstance(word, str) for word in recorded or []):
            raise UserError(f"{self.overrides_file} does not hold a list of overrides.")
        return recorded

    def configuration(self) -> dict[str, Any]:
        """Return the run's resolved configuration in plain containers.

        Raises:
            UserError: the file cannot be read.
        """
        config = _read_yaml(self.config)
        if not isinstance(config, dict):
            raise UserError(f"{self.config} does not hold a configuration.")
        return config

    def settings(self, group: str) -> dict[str, Any]:
        """Return one group of the configuration; empty if it is missing.

        Raises:
            UserError: the configuration cannot be read.
        """
        settings = self.configuration().get(group)
        return settings if isinstance(settings, dict) else {}

    def write_configuration(self, config: dict[str, Any], overrides: list[str]) -> None:
        """Write the checked configuration and the overrides that it was composed from, sealed by this user."""
        write_text(self.config, OmegaConf.to_yaml(OmegaConf.create(config)))
        write_text(self.overrides_file, sealed(OmegaConf.to_yaml(OmegaConf.create(overrides))))

    # -- status and origin ------------------------------------------------------------------------

    def status(self) -> dict[str, Any] | None:
        """Return the run's status (see `colorlab.runs.status`); None if none was written.

        Raises:
            UserError: the file cannot be read.
        """
        return read_json(self.status_file)

    def write_status(self, status: dict[str, Any]) -> None:
        """Write the run's status."""
        write_json(self.status_file, status)

    def is_done(self) -> bool:
        """Return whether a run ended well here; its checkpoints may have been deleted since."""
        with suppress(UserError):  # a status that cannot be read says nothing
            return (self.status() or {}).get("status") == "done"
        return False

    def never_saved(self) -> bool:
        """Return whether a run began here and ended before its first checkpoint: resuming it starts it again."""
        return self.overrides_file.is_file() and not self.checkpoints.exist() and not self.is_done()

    def origin(self) -> dict[str, Any] | None:
        """Return what the run's numbers depend on (see `colorlab.runs.origin`); None if it was not kept.

        Raises:
            UserError: the file cannot be read.
        """
        return read_json(self._origin)

    def write_origin(self, origin: dict[str, Any], diff: str = "") -> None:
        """Write what the run's numbers depend on, and the uncommitted changes of the code."""
        write_json(self._origin, origin)
        if diff:
            write_text(self._diff, diff)

    def write_trackers(self, addresses: dict[str, str]) -> None:
        """Write the addresses at which trackers show the run, {tracker: address}."""
        write_json(self.trackers, addresses)

    # -- pictures ---------------------------------------------------------------------------------

    def newest_validation_sheet(self) -> Path | None:
        """Return the newest contact sheet of validation photographs, the same ones for all runs on the same data."""
        return max(self.comparison.glob("epoch*.png"), key=lambda sheet: (len(sheet.name), sheet.name), default=None)

    def newest_sheet(self) -> Path | None:
        """Return the contact sheet written last; None if there is none."""
        return max(self.comparison.glob("*.png"), key=lambda sheet: sheet.stat().st_mtime_ns, default=None)

    # -- begin again ------------------------------------------------------------------------------

    def remove_results(self) -> None:
        """Remove what an earlier run left here and a new one would append to or be mistaken for."""
        for file in (
            self._origin, self._diff, self.metrics, self.curves, self.prior, self.prior.with_suffix(".png"),
            self.trackers, self.wandb_id, self.mlflow_id, self.decay_request,
        ):  # fmt: skip
            file.unlink(missing_ok=True)
        for folder in (self.comparison, self.nonfinite, self.path / "tensorboard"):
            shutil.rmtree(folder, ignore_errors=True)


def _read_yaml(file: Path) -> Any:
    """Read a YAML file as plain data: interpolations stay text, and no object is built.

    Aliases are refused: no run writes them, and a few of them can expand to more than memory holds.
    """
    try:
        if file.stat().st_size > LARGEST_YAML:
            raise UserError(f"{file} cannot be read: it has more than {LARGEST_YAML // 2**10} KiB.")
        text = file.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise UserError(f"{file} cannot be read: it contains YAML aliases.")
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {str(error).splitlines()[0]}.") from error
