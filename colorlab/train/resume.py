"""Where a training starts: in a new folder, or at the checkpoint of a run that it resumes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from colorlab.errors import UserError, printable
from colorlab.process.new_folders import remove_made_folder
from colorlab.process.ranks import is_first_process, is_requeued
from colorlab.runs.checkpoints import find_checkpoint
from colorlab.runs.folder import RunFolder
from colorlab.runs.status import Status
from colorlab.train.experiment import Experiment

if TYPE_CHECKING:
    from colorlab.models import Colorizer


def starting_checkpoint(experiment: Experiment, folder: RunFolder) -> Path | None:
    """Return the checkpoint to resume from; None for a new training.

    A job that SLURM has requeued resumes from the newest sound checkpoint of its own folder.

    Raises:
        UserError: there is no checkpoint, it holds no training, that of another model, or a longer one.
    """
    from colorlab.runs.weight_files import DamagedCheckpoint, checkpoint_typed_as

    resume = experiment.settings.resume
    if is_requeued() and folder.checkpoints.exist():
        path = folder.checkpoints.newest()
        try:
            return _checked(path, experiment)
        except DamagedCheckpoint as error:
            if error.sound is None:
                raise
            if is_first_process():
                complaint = error.complaint.removesuffix(".")
                print(printable(f"{complaint}: the requeued run resumes from {error.sound}."), flush=True)
            return _checked(Path(error.sound), experiment)
    with checkpoint_typed_as("resume="):
        return _checked(find_checkpoint(Path(resume)), experiment) if resume else None


@contextmanager
def unchanged_if_refused(folder: RunFolder, status: Status, in_sweep: bool) -> Iterator[None]:
    """Leave the folder as it was if the block refuses the run before it begins; remove it if it is new.

    In a sweep it stays, as it holds the status that is reported at the end.
    """
    files = (folder.config, folder.overrides_file)
    before = {file: file.read_bytes() for file in files if file.is_file()}
    try:
        yield
    except UserError:
        if not (status.begun or in_sweep or not is_first_process() or remove_made_folder(folder.path)):
            for file in files:
                if file in before:
                    file.write_bytes(before[file])
                else:
                    file.unlink(missing_ok=True)
        raise


def _checked(path: Path, experiment: Experiment) -> Path:
    from colorlab.runs.weight_files import read_checkpoint

    model, max_epochs = experiment.model, experiment.trainer.arguments.get("max_epochs")
    checkpoint: dict[str, Any] = read_checkpoint(path)
    kind = cast("type[Colorizer]", model.target)
    wanted = kind.qualified_name()
    if checkpoint.get("colorizer") != wanted:
        raise UserError(f"resume={path} holds {checkpoint.get('colorizer', 'bare weights')}, not {wanted}.")
    if "optimizer_states" not in checkpoint:
        raise UserError(f"resume={path} holds a model and no training: model.weights={path} starts from its weights.")
    trained = checkpoint.get("hyper_parameters")
    trained = trained if isinstance(trained, dict) else {}  # Lightning leaves out empty ones
    for key, value in model.arguments.items():
        if trained.get(key) != value:
            raise UserError(f"resume={path} was trained with model.{key}={trained.get(key)}, not {value}.")
    epoch = checkpoint.get("epoch")
    if max_epochs is not None and isinstance(epoch, int) and 0 <= max_epochs < epoch:
        raise UserError(f"resume={path} is in epoch {epoch} (from 0), beyond trainer.max_epochs={max_epochs}.")
    return path


def prepare_new_run(folder: RunFolder) -> None:
    """Remove what a run without a checkpoint left in the folder.

    Raises:
        UserError: the folder holds a run that has a checkpoint, or that is done.
    """
    if folder.checkpoints.exist():
        raise UserError(
            f"{folder.path} holds a run already: resume={folder.path} continues it, another folder starts a new one."
        )
    if folder.is_done():
        raise UserError(f"{folder.path} holds a run that is done, without its checkpoints: take another folder.")
    if folder.config.is_file():
        folder.remove_results()
