"""A trained model for other programs: one format a file, each with `write` and with `read`, which checks it."""
