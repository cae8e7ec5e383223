"""The command `python -m colorlab.colorize`: color your own pictures and films."""
