"""A home folder and a user's name for processes that have none, as in a container under an unknown user number."""

import getpass
import os
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from colorlab.errors import UserError
from colorlab.process.ranks import is_first_process

FOLDERS = {
    "XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config", "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
}  # fmt: skip
"""The variables that name a user's folders, from which colorlab, torch, matplotlib and wandb read, and their defaults
in the home folder."""


def take_home() -> None:
    """Give this process, and those it starts, a home folder and a user's name if they have none.

    Both are set as variables of the environment. Libraries keep caches in the user's folders, and ask for the user's
    name. Without a home folder, HOME becomes a temporary folder of the user's own; if it is read-only, as / is, only
    its folders are elsewhere, and files in it, as wandb's login in .netrc, are still found.

    Raises:
        UserError: no temporary folder can be made either.
    """
    if not hasattr(os, "getuid"):  # Windows, where there is always one
        return
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = str(os.getuid())
    home = Path(os.path.expanduser("~"))
    missing = {
        name: folder for name, folder in FOLDERS.items() if name not in os.environ and not _is_usable(home / folder)
    }
    if not missing:
        return
    own = _temporary_folder()
    if home.is_absolute() and os.path.isdir(home):
        os.environ.update({name: str(own / folder) for name, folder in missing.items()})
    else:
        os.environ["HOME"] = str(own)
    if is_first_process():
        print(f"colorlab: There is no home folder that can be written to: caches are in {own}.", file=sys.stderr)


def _is_usable(folder: Path) -> bool:
    """Return whether a folder exists, perhaps with what was put there to be read only, or can be made."""
    if not folder.is_absolute():  # "~", of an unknown user
        return False
    if os.path.exists(folder):  # unlike the method of Path, it takes what may not be looked into as missing
        return True
    while not os.path.exists(folder):
        folder = folder.parent
    return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)


def _temporary_folder() -> Path:
    """Return a folder that only this user can use: the same for all processes, unless somebody else has taken it."""
    try:
        folder = Path(tempfile.gettempdir(), f"colorlab-{os.getuid()}")
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return folder
        return Path(tempfile.mkdtemp(prefix=f"{folder.name}-"))
    except OSError as error:
        raise UserError(f"There is no folder for caches ({error}): set HOME to one that can be written to.") from error
