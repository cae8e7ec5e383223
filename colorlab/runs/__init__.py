"""One training run on disk: its folder, checkpoints, status, origin, and how it is resumed."""
