"""A source of photographs: those with a word in their names."""

from typing import Any

from colorlab.data import ColorDataModule


class Matching(ColorDataModule):
    """The photographs of a folder whose names contain a word.

    Args:
        word: the word.
        settings: those of every source, such as `root` and `size`.
    """

    def __init__(self, word: str, **settings: Any) -> None:
        self.word = word
        super().__init__(**settings)

    def find(self, *settings: Any) -> Any:
        """Return the folder, and the names of the photographs in each split."""
        folder, splits = super().find(*settings)
        return folder, {split: [name for name in names if self.word in name] for split, names in splits.items()}
