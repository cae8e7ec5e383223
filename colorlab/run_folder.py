"""A run's folder: what lies where in it. Imports nothing heavy."""

import hashlib
import io
import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colorlab.errors import UserError
from colorlab.whole import whole, write_whole

log = logging.getLogger(__name__)

PRETRAINED = "model.safetensors"
"""The weights in a folder that holds an exported model, as Hugging Face calls them."""

BUILT_IN = "built-in"
"""The checkpoint that comes with colorlab: a narrow CUNet, of the built-in photographs (experiment=built_in)."""


class RunFolder:
    """The folder that holds all of a run.

        config.yaml        the resolved configuration
        overrides.yaml     the overrides it was started with
        origin.json        what else its numbers depend on: code, versions, photographs, seed
        origin.diff        the code's changes since its commit, where there are any
        status.json        how it stands: running, done, failed, interrupted or pruned, and why
        checkpoints/       the best ones by name, and last.ckpt
        comparison/        a sheet of pictures after each validation
        metrics.csv        one row an epoch
        curves.png         the same as a picture
        prior.npz, .png    how often each color occurs, where the objective asks for it
        nonfinite/         the batches of steps that were left out: their loss or gradient was no number
        trackers.json      where the trackers show it
        wandb_id, wandb/   the tracker's; likewise tensorboard/, mlflow_id

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.checkpoints = self.path / "checkpoints"
        self.comparison = self.path / "comparison"
        self.nonfinite = self.path / "nonfinite"
        self.metrics = self.path / "metrics.csv"
        self.curves = self.path / "curves.png"
        self.prior = self.path / "prior.npz"
        self.wandb_id = self.path / "wandb_id"
        self.mlflow_id = self.path / "mlflow_id"
        self.trackers = self.path / "trackers.json"
        self._origin = self.path / "origin.json"
        self._diff = self.path / "origin.diff"
        self._status = self.path / "status.json"
        self._overrides = self.path / "overrides.yaml"
        self._decay_request = self.path / "decay.request"

    @classmethod
    def of(cls, checkpoint: Path) -> "RunFolder":
        """The folder that a checkpoint lies in."""
        return cls(checkpoint.resolve().parent.parent)

    def newest_checkpoint(self) -> Path:
        """last.ckpt, or the one of the highest epoch; by name, so that a copied folder means the same.

        Raises:
            UserError: there is none.
        """
        last = self.checkpoints / "last.ckpt"
        named = sorted(self.checkpoints.glob("*_epoch*_loss*.ckpt"), key=_epoch)
        if last.is_file() or named:
            return last if last.is_file() else named[-1]
        raise UserError(f"{self.path} holds no checkpoint: give the folder of a run, or a checkpoint.")

    def best_checkpoint(self) -> Path:
        """The one whose name says the lowest loss; the newest where none says any.

        Raises:
            UserError: there is none.
        """
        named = [path for path in self.checkpoints.glob("*_epoch*_loss*.ckpt") if _loss(path) is not None]
        return min(named, key=lambda path: (_loss(path), path.name)) if named else self.newest_checkpoint()

    def newest_validation_sheet(self) -> Path | None:
        """The sheet of the validation photographs drawn last: the same ones in each run on the same data."""
        return max(self.comparison.glob("epoch*.png"), key=lambda sheet: (len(sheet.name), sheet.name), default=None)

    def newest_comparison(self) -> Path | None:
        """The sheet of pictures drawn last, if there is one."""
        return max(self.comparison.glob("*.png"), key=lambda sheet: sheet.stat().st_mtime_ns, default=None)

    def has_checkpoint(self) -> bool:
        """Whether a run can go on here from where it was."""
        return any(self.checkpoints.glob("*.ckpt"))

    def is_done(self) -> bool:
        """Whether a run came to its end here, whatever became of its checkpoints."""
        with suppress(UserError):  # what cannot be read says nothing
            return (self.status() or {}).get("status") == "done"
        return False

    def has_status(self) -> bool:
        """Whether a run ever said how it stands."""
        return self._status.is_file()

    def came_to_nothing(self) -> bool:
        """Whether a run began here and was lost before its first checkpoint: to go on with it is to begin it anew."""
        return self._overrides.is_file() and not self.has_checkpoint() and not self.is_done()

    def overrides(self) -> list[str] | None:
        """The overrides the run was started with; None if the folder is no run's.

        Raises:
            UserError: the file holds something else.
        """
        recorded = _load(self._overrides) if self._overrides.is_file() else None
        if not isinstance(recorded, list | None) or not all(isinstance(word, str) for word in recorded or []):
            raise UserError(f"{self._overrides} holds something else than overrides.")
        return recorded

    def batch_size(self) -> int:
        """Photographs in each of the run's batches, by its configuration."""
        size = self._settings("data").get("batch_size")
        if not isinstance(size, int):
            raise UserError(f"{self.config} holds no data.batch_size.")
        return size

    def filed(self) -> dict[str, str]:
        """The name and the group that the tracker files the run under; nothing where it is in no group."""
        run = self._settings("run")
        return {key: run[key] for key in ("name", "group")} if run.get("group") else {}

    def configuration(self) -> dict[str, Any]:
        """What the run is made of, in plain containers.

        Raises:
            UserError: the file cannot be read.
        """
        config = _load(self.config)
        if not isinstance(config, dict):
            raise UserError(f"{self.config} holds something else than a configuration.")
        return config

    def _settings(self, group: str) -> dict[str, Any]:
        settings = self.configuration().get(group)
        return settings if isinstance(settings, dict) else {}

    def write_configuration(self, cfg: dict[str, Any], overrides: list[str]) -> None:
        """Keep what the run is made of; not before all of it is known to be right."""
        write_whole(self.config, OmegaConf.to_yaml(OmegaConf.create(cfg)))
        write_whole(self._overrides, OmegaConf.to_yaml(OmegaConf.create(overrides)))

    def status(self) -> dict[str, Any] | None:
        """How the run stands, as colorlab.status tells it; None if nobody ever said."""
        return _read(self._status)

    def write_status(self, status: dict[str, Any]) -> None:
        """Say how the run stands."""
        write_whole(self._status, _json(status))

    def origin(self) -> dict[str, Any] | None:
        """What the run's numbers depend on, as colorlab.origin found it; None if that was not kept."""
        return _read(self._origin)

    def write_origin(self, origin: dict[str, Any], diff: str = "") -> None:
        """Keep what the run's numbers depend on, and the code's changes since its commit."""
        write_whole(self._origin, _json(origin))
        if diff:
            write_whole(self._diff, diff)

    def write_trackers(self, addresses: dict[str, str]) -> None:
        """Keep where the trackers show the run, by tracker."""
        write_whole(self.trackers, _json(addresses))

    def forget(self) -> None:
        """Remove what an earlier run left here, which a new one would go on with or be taken to have made."""
        for file in (
            self._origin, self._diff, self.metrics, self.curves, self.prior, self.prior.with_suffix(".png"),
            self.trackers, self.wandb_id, self.mlflow_id,
        ):  # fmt: skip
            file.unlink(missing_ok=True)
        for folder in (self.comparison, self.nonfinite, self.path / "tensorboard"):
            shutil.rmtree(folder, ignore_errors=True)

    def keep_prior(self, file: Path) -> None:
        """Keep a copy of the prior the run is trained with: a resume must find the same."""
        with whole(self.prior, shared=True) as part:
            shutil.copyfile(file, part)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training here meanwhile; if this one is killed, the system lets go of the folder.

        Raises:
            UserError: another process trains here.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            status = self.status() or {}
            who = f" (process {status['pid']} on {status['host']})" if status.get("status") == "running" else ""
            raise UserError(
                f"{self.path} is another run's that still trains{who}: wait for it, stop it, or take another folder,"
                " hydra.run.dir=…"
            ) from None
        except (OSError, NotImplementedError):  # a file system without locks keeps nobody from training
            pass
        try:
            yield
        finally:
            lock.release()

    def ask_for_decay(self) -> None:
        """Leave a request that PlateauDecay takes at the next epoch's end.

        Raises:
            UserError: this is not the folder of a run, or nothing in the run would take the request.
        """
        if not self.config.is_file():
            raise UserError(f"{self.path} is not the folder of a run (it has no config.yaml).")
        if not self._settings("callbacks").get("plateau"):
            raise UserError(f"The run in {self.path} has no plateau callback to ask.")
        self._decay_request.touch()

    def take_decay_request(self) -> bool:
        """Whether a decay was asked for since the last call."""
        asked = self._decay_request.exists()
        self._decay_request.unlink(missing_ok=True)
        return asked


@contextmanager
def dispensable(file: Path) -> Iterator[None]:
    """Around the writing of a file that a run can do without: a full disk is said, and the run goes on."""
    try:
        yield
    except OSError as error:
        log.warning("%s cannot be written (%s): the run goes on without it.", file, error.strerror or error)


def _read(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} holds something else than facts by name.")
    return content


def _load(file: Path) -> Any:
    """What a YAML file holds, plain: nothing in it is resolved, and no object built.

    Aliases, which no run writes, are refused: a few of them can stand for more than a machine can hold.
    """
    try:
        text = file.read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise UserError(f"{file} cannot be read: it has aliases.")
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{file} cannot be read: {str(error).splitlines()[0]}.") from error


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _epoch(checkpoint: Path) -> int:
    found = re.search(r"_epoch(\d+)_", checkpoint.name)
    return int(found[1]) if found else -1


def _loss(checkpoint: Path) -> float | None:
    found = re.search(r"_loss(-?\d+(?:\.\d+)?)", checkpoint.name)
    return float(found[1]) if found else None


def find_checkpoint(path: Path, best: bool = False) -> Path:
    """The checkpoint that `path` means: itself, the built-in one, or of a run's folder the newest, or the best.

    Raises:
        UserError: there is none.
    """
    if path.is_file() or (path / PRETRAINED).is_file():
        return path
    if str(path) == BUILT_IN and not path.exists():
        return Path(__file__).parent / "models" / "built_in.safetensors"
    if not path.is_dir():
        raise UserError(f"{path} does not exist: give the folder of a run, or a checkpoint.")
    folder = RunFolder(path)
    return folder.best_checkpoint() if best else folder.newest_checkpoint()


def sha256_of(checkpoint: Path) -> str:
    """What tells one checkpoint from another: the SHA-256 of the file that holds the weights."""
    with (checkpoint / PRETRAINED if checkpoint.is_dir() else checkpoint).open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
