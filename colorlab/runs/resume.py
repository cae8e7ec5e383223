"""Going on with a run: where it left off, with the overrides it was started with. Imports nothing heavy."""

import os
from pathlib import Path

from colorlab.command_line import key_of
from colorlab.config import Plan
from colorlab.errors import UserError
from colorlab.runs.checkpoints import find_checkpoint
from colorlab.runs.folder import RunFolder
from colorlab.runs.origin import words_alone


def requeued(folder: RunFolder) -> Path | None:
    """Where to go on when SLURM starts a job again that it had ended: it uses the same folder."""
    again = os.environ.get("SLURM_RESTART_COUNT", "0") != "0"
    return folder.checkpoints.newest() if again and folder.checkpoints.exist() else None


def checkpoint_of(path: Path, model: Plan, max_epochs: int | None) -> Path:
    """The checkpoint to go on from.

    Args:
        path: the checkpoint, or the run's folder.
        model: what is to be trained; it must be what was trained.
        max_epochs: of the training, if it has an end.

    Raises:
        UserError: there is none, it holds no training, that of another model, or a longer one.
    """
    from colorlab.models.weights import read_checkpoint

    path = find_checkpoint(path)
    checkpoint = read_checkpoint(path)
    wanted = model.target.qualified_name()
    if checkpoint.get("colorizer") != wanted:
        raise UserError(f"resume={path} holds {checkpoint.get('colorizer', 'bare weights')}, not {wanted}.")
    if "optimizer_states" not in checkpoint:
        raise UserError(f"resume={path} holds a model and no training: model.weights={path} begins with its weights.")
    held = checkpoint.get("hyper_parameters")
    held = held if isinstance(held, dict) else {}  # Lightning writes no empty ones
    for key, value in model.arguments.items():
        if key != "weights" and held.get(key) != value:
            raise UserError(f"resume={path} was trained with model.{key}={held.get(key)}, not {value}.")
    epoch = checkpoint.get("epoch")
    if max_epochs is not None and isinstance(epoch, int) and 0 <= max_epochs < epoch:
        raise UserError(f"resume={path} is in epoch {epoch} (from 0), beyond trainer.max_epochs={max_epochs}.")
    return path


def begin_anew(folder: RunFolder) -> None:
    """Let what never came to a checkpoint give way to a new run.

    Raises:
        UserError: the folder holds a run that came to something.
    """
    if folder.checkpoints.exist():
        raise UserError(
            f"{folder.path} holds a run already: resume={folder.path} goes on with it, another folder starts anew."
        )
    if folder.is_done():
        raise UserError(f"{folder.path} holds a run that is done, without its checkpoints: take another folder.")
    if folder.config.is_file():
        folder.remove_results()


def with_run_of(arguments: list[str]) -> list[str]:
    """On `resume=PATH`, put the run's own overrides before the new ones, and go on in its folder."""
    given = [argument.partition("=")[2] for argument in arguments if key_of(argument) == "resume"]
    if not given or given[-1] in ("", "null"):
        return arguments
    path = Path(given[-1].strip("'\"")).expanduser()
    folder = RunFolder(path)
    if folder.never_saved():
        print(f"{path} came to no checkpoint: it begins anew.", flush=True)
        arguments = [argument for argument in arguments if key_of(argument) != "resume"]
    else:
        folder = RunFolder.of(find_checkpoint(path))
    recorded = folder.overrides()
    if recorded is None:  # a checkpoint from elsewhere: what it is trained with stands in the command
        return arguments
    new = {key_of(argument) for argument in arguments}
    filed = [f"run.{key}='{value}'" for key, value in _filed(folder).items()]
    old = words_alone([*recorded, *(word for word in filed if key_of(word) not in map(key_of, recorded))], new)
    here = [] if "hydra.run.dir" in new else [f"hydra.run.dir='{folder.path}'"]
    return [*old, *arguments, *here]


def _filed(folder: RunFolder) -> dict[str, str]:
    """Return the name and the group that the tracker files a run under; nothing if it has no group."""
    run = folder.settings("run")
    return {key: run[key] for key in ("name", "group")} if run.get("group") else {}
