"""Everything that colorlab uses of other libraries beyond their public interface, one function each.

tests/test_library_internals.py checks that each part still exists and means the same.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lightning import Trainer


def process_start_method(trainer: "Trainer") -> str | None:
    """Return how a Trainer starts its further processes: "spawn", "fork", "command", or None if it starts none.

    Relies on Lightning's classes of launchers, and on `_MultiProcessingLauncher._start_method`.
    """
    from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher, _SubprocessScriptLauncher

    launcher = trainer.strategy.launcher
    if isinstance(launcher, _MultiProcessingLauncher):
        return launcher._start_method
    return "command" if isinstance(launcher, _SubprocessScriptLauncher) else None
